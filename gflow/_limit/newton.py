r"""Newton's method for a stationary direction on a given set of active margins.

With margins in units of the sought one, and $\mu \geq 0$ the multipliers, the equations
are those of $\min \frac12 |\theta|^2$ subject to $z_i \geq 1$ on the active set $A$:

$$\theta = \sum_{i \in A} \mu_i \nabla z_i(\theta), \qquad z_i(\theta) = 1
\quad (i \in A).$$

A step is split by the gradients of $A$: across them it is fixed by the margins; along
their null space it solves $P M P d = r$, $M = I - \sum_i \mu_i \nabla^2 z_i$, by LSMR
on products with $M$. So no matrix of the size of the weights is formed, and $M$ may be
indefinite: a saddle is found as well as a maximum. The least squares are damped by the
residual, as by Levenberg and Marquardt: so convergence is fast, too, to a surface of
solutions, such as a symmetry makes.

References:
    Fan and Yuan (2005), "On the quadratic convergence of the Levenberg-Marquardt method
    without nonsingularity assumption", for damping by the residual.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from scipy.sparse.linalg import lsmr

from .model import Model
from .operator import Symmetric


LONGEST = 0.3  # of a step, in radians: beyond, the equations are other ones
FINE = 1e-11  # a residual that no longer halves below this is rounding
ROUNDED, COARSEST = 4.0, 1e-8  # or below so many roundings of its sums, or so much
KRYLOV = 200  # iterations of LSMR, at most, in a step
DAMPING = 0.3  # times the root of the residual; found by trial


class Root(NamedTuple):
    """Where Newton's method ended.

    Attributes:
        theta: The direction, of norm about one.
        multipliers: One a margin, zero off the active set.
        residual: The 2-norm of the equations.
        converged: Whether the residual came down to rounding.
        steps: How many steps were taken.
        contraction: The residual after the first step over that before it.
    """

    theta: Float64[np.ndarray, " weights"]
    multipliers: Float64[np.ndarray, " margins"]
    residual: float
    converged: bool
    steps: int
    contraction: float


def newton(
    model: Model,
    theta: Float64[np.ndarray, " weights"],
    active: Bool[np.ndarray, " margins"],
    max_steps: int,
) -> Root:
    """The stationary direction near `theta` with these active margins."""
    multipliers = None
    best, sizes, reached = None, [], False
    for _ in range(max_steps + 1):
        margins, gradients = model.jacobian(theta)
        basis, triangle = np.linalg.qr(gradients[active].T)
        if multipliers is None:
            multipliers = np.linalg.solve(triangle, basis.T @ theta)
        drift = theta - gradients[active].T @ multipliers
        gap = 1 - margins[active]
        sizes.append(float(np.hypot(np.linalg.norm(drift), np.linalg.norm(gap))))
        full = np.zeros(len(margins))
        full[active] = multipliers
        rounding = ROUNDED * rounding_of(gradients[active], theta, multipliers)
        fine = min(max(FINE, rounding), COARSEST)
        stalled = best is not None and sizes[-1] > best[2] / 2
        if best is None or sizes[-1] < best[2]:
            best, reached = (theta, full, sizes[-1]), sizes[-1] < fine
        if (stalled and reached) or not np.isfinite(sizes[-1]):
            break
        step, change = newton_step(
            model, theta, full, (basis, triangle), (drift, gap), sizes[-1]
        )
        part = min(1.0, LONGEST / max(float(np.linalg.norm(step)), 1e-300))
        theta, multipliers = theta + part * step, multipliers + part * change
    assert best is not None
    contraction = sizes[1] / max(sizes[0], FINE) if len(sizes) > 1 else np.inf
    return Root(*best, reached, len(sizes) - 1, contraction)


def rounding_of(gradients, theta, multipliers) -> float:
    """What the residual is rounded by: with features of all sizes its sums cancel."""
    size = np.abs(gradients)
    parts = np.concatenate([size.T @ np.abs(multipliers), size @ np.abs(theta)])
    return float(np.finfo(float).eps * np.linalg.norm(parts))


def newton_step(model, theta, multipliers, factors, residuals, size):
    """The change of the direction and of the active multipliers."""
    (basis, triangle), (drift, gap) = factors, residuals

    def matrix(vector):
        return vector - model.curvature_along(theta, multipliers, vector)

    def along(vector):
        return vector - basis @ (basis.T @ vector)

    def curved(vector):
        return along(matrix(along(vector)))

    across = basis @ np.linalg.solve(triangle.T, gap)
    target = -along(drift + matrix(across))
    accuracy = min(1e-2, max(1e-8, 0.1 * size))
    free = lsmr(
        Symmetric(theta.size, curved),
        target,
        damp=DAMPING * np.sqrt(size),
        atol=accuracy,
        btol=accuracy,
        maxiter=KRYLOV,
    )[0]
    step = across + along(free)
    change = np.linalg.solve(triangle, basis.T @ (matrix(step) + drift))
    return step, change
