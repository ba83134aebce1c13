"""Where diagonal networks end: the interpolation that their mirror flow chooses."""

import math

import numpy as np
from jaxtyping import Float64


Vector = Float64[np.ndarray, " features"]


def mirror_solution(
    x: Float64[np.ndarray, "samples {features}"],
    y: Float64[np.ndarray, " samples"],
    alpha: float,
) -> Vector:
    r"""The $\beta = 2 \alpha^2 \sinh(X^\top \nu)$ with $X \beta = y$.

    By Newton's method with halved steps on the convex $\sum 2\alpha^2 \cosh(X^\top \nu)
    - y^\top \nu$, from a large scale down to $\alpha$ by factors of 3, each from the
    last.
    """
    nu = np.zeros(len(y))
    steps = max(0, math.ceil(math.log(10.0 / alpha) / math.log(3.0)))
    for size in [*(alpha * 3.0 ** np.arange(steps, 0, -1)), alpha]:
        for _ in range(200):
            curved, beta = waves(x, nu, size)
            lacks = y - x @ beta
            if np.linalg.norm(lacks) <= 1e-14 * np.linalg.norm(y):
                break
            step = np.linalg.solve((x * curved) @ x.T, lacks)
            share, value = 1.0, np.sum(curved) - y @ nu
            while share > 1e-9:
                there = nu + share * step
                if np.sum(waves(x, there, size)[0]) - y @ there <= value:
                    break
                share /= 2
            nu = nu + share * step
    return waves(x, nu, alpha)[1]


def waves(x, nu, alpha):
    r"""$2 \alpha^2 \cosh$ and $2 \alpha^2 \sinh$ of $X^\top \nu$; neither overflows."""
    log_scale = 2 * math.log(alpha)
    up, down = (np.exp(np.minimum(s * x.T @ nu + log_scale, 600.0)) for s in (1, -1))
    return up + down, up - down


def bounds(least: float, exact: Vector, alpha: float) -> tuple[float, float]:
    r"""What the norms of the solution over the least ones can be at most.

    By $\phi \leq |\beta| \operatorname{asinh}(|\beta|/c)$ at the least $\ell_1$ norm,
    and $\phi \geq \lambda |\beta| - c (\cosh\lambda - 1)$ for any $\lambda$, with $c =
    2 \alpha^2$; and by $\beta^2 / 2 \sqrt{c^2 + \beta^2} \leq \phi \leq \beta^2 / 2c$.
    """
    c = 2 * alpha**2
    top = math.asinh(least / c)
    slopes = np.linspace(top / 200, top, 200)
    grown = np.exp(slopes + math.log(c)) / 2 * (1 + np.exp(-2 * slopes))
    lifted = len(exact) * (grown - c)
    over_l1 = float(np.min((least * top + lifted) / slopes)) / least
    return over_l1, math.sqrt(math.hypot(1.0, np.max(np.abs(exact)) / c))
