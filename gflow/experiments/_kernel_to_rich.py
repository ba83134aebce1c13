import math
from collections.abc import Sequence

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import scipy

from .._checks import checked_count
from ._checks import checked_numbers, checked_rtol
from ._finding import Finding, Row
from ._mirror import bounds, mirror_solution
from ._run import TOLERANCES, follow, measured


class Paired(eqx.Module):
    r"""$\langle x, u \odot u - v \odot v \rangle$: a linear model, of degree 2."""

    plus: jax.Array
    minus: jax.Array

    def __call__(self, x):
        return jnp.dot(x, self.plus**2 - self.minus**2)

    def units(self):
        """Each feature is small or large on its own."""
        return (("plus",), ("minus",))


def kernel_to_rich(
    *,
    scales: Sequence[float] = (1e-30, 1e-2, 10.0),
    samples: int = 5,
    features: int = 12,
    seed: int = 0,
    rtol: float = 1e-8,
    max_steps: int = 10_000,
) -> Finding:
    r"""From the kernel to the rich regime: which solution a diagonal network finds.

    $\beta = u \odot u - v \odot v$ from $u = v = \alpha$ moves as a mirror flow, under
    any loss: $\beta = 2 \alpha^2 \sinh(X^\top \nu)$. With fewer samples than features
    the square loss ends at the only such $\beta$ that interpolates. It minimizes
    $\sum_j \phi(\beta_j)$, $\phi^*(\theta) = 2\alpha^2 (\cosh \theta - 1)$, from which
    bounds of its norms follow: it is the least in $\ell_1$ for $\alpha \to 0$ and in
    $\ell_2$ for $\alpha \to \infty$.

    Args:
        scales: $\alpha$, 1e-100 to 100, one flow each.
        samples: How many, fewer than features.
        features: How many, all Gaussian; the targets are too.
        seed: Of the data.
        rtol: The tolerance of the solves.
        max_steps: Of each solve.

    Returns:
        Three rows a scale: the solution, by Newton's method on $\nu$, and its norms
        over the least, by SciPy's linear program and by least squares.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `gflow.experiments.kernel_to_rich(scales=[1e-3, 1.0])`

    References:
        Woodworth et al. (2020), "Kernel and rich regimes in overparametrized models".
    """
    alphas = checked_numbers(scales, "scales", 1e-100, 100.0, "Pass (1e-30, 10.0).")
    rtol, samples = checked_rtol(rtol), checked_count(samples, "samples")
    features = checked_count(features, "features", samples + 1)
    random = np.random.default_rng(checked_count(seed, "seed", 0))
    x, y = random.normal(size=(samples, features)), random.normal(size=samples)
    flow = gflow.GradientFlow(gflow.Square(), x, y)
    until = gflow.Until(log_loss=2 * math.log(1e-2 * rtol))
    curves, rows = [], []
    for alpha in alphas:
        network = Paired(*(jnp.full(features, alpha) for _ in range(2)))
        curve = follow(flow, network, until, rtol=rtol, max_steps=max_steps)
        curves.append(curve)
        rows += compared(x, y, alpha, curve, TOLERANCES * rtol)
    return Finding(
        name="kernel_to_rich",
        claim="From weights of scale a a diagonal network converges to the solution "
        "2 a^2 sinh(X'v): of least l1 norm as a -> 0 (rich), of least l2 norm as a -> "
        "inf (kernel), and for each a within bounds of both.",
        source="Woodworth et al. (2020); the bounds are derived",
        settings={
            "scales": tuple(map(float, alphas)),
            "samples": samples,
            "features": features,
            "seed": seed,
            "rtol": rtol,
        },
        rows=tuple(rows),
        curves=tuple(curves),
    )


def compared(x, y, alpha, curve, allowed):
    """The rows of one scale."""
    exact = mirror_solution(x, y, alpha)
    flat = np.linalg.lstsq(x, y, rcond=None)[0]
    parts, both = np.ones(2 * len(flat)), np.hstack([x, -x])
    least = float(scipy.optimize.linprog(parts, A_eq=both, b_eq=y).fun)
    over_l1, over_l2 = bounds(least, exact, alpha)

    def solution():
        end = curve[-1].network
        found = np.asarray(end.plus**2 - end.minus**2)
        off = np.linalg.norm(found - exact) / np.linalg.norm(exact)
        ones = np.sum(np.abs(found)) / least
        return off, ones, np.linalg.norm(found) / np.linalg.norm(flat)

    off, ones, twos = measured(curve, 3, solution)
    at = f"a = {alpha:g}: "
    return [
        Row(f"{at}error of the solution", 0.0, off, allowed),
        Row(f"{at}l1 norm / the least", over_l1, ones, allowed, "<="),
        Row(f"{at}l2 norm / the least", over_l2, twos, allowed, "<="),
    ]
