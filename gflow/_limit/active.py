"""Which margins are active: guessed from the flow's weights, then repaired."""

import numpy as np
import scipy.linalg
import scipy.optimize
from jaxtyping import Bool, Float64

from .model import Model
from .newton import Root, newton


CARRIED = 1e-6  # of the largest weight: below, a margin carries nothing
INDEPENDENT = 1e-9  # a gradient nearer than this to the span of others adds nothing
SLACK = 1e-11  # violations and negative multipliers below this are rounding


def stationary(
    model: Model,
    theta: Float64[np.ndarray, " weights"],
    weights: Float64[np.ndarray, " margins"],
    max_steps: int,
    max_repairs: int,
) -> Root:
    """A direction that meets all conditions of Karush, Kuhn and Tucker.

    Newton's method on the margins that carry weight; then a margin with a negative
    multiplier is dropped, and those that are violated are added, until none is left.
    A new margin whose gradient depends on the others takes the place of the one that
    first gives way to it.

    Args:
        model: The margins.
        theta: Where to start, of norm one.
        weights: The pull of each margin there.
        max_steps: Newton steps on one active set.
        max_repairs: Changes of the active set.

    Returns:
        The point; `converged` only if every condition holds.
    """
    active = carried(model, theta, weights)
    seen: set[bytes] = set()
    contraction = None
    root = newton(model, theta, active, max_steps)
    while True:
        contraction = contraction or root.contraction
        margins, gradients = model.jacobian(root.theta)
        pulls = np.where(active, root.multipliers, np.inf)
        scale = max(np.max(root.multipliers), 0.0)
        backward = np.min(pulls) < -SLACK * scale
        violated = (margins < 1 - SLACK) & ~active
        done = root.converged and not backward and not np.any(violated)
        seen.add(active.tobytes())
        if done or len(seen) > max_repairs or not root.converged:
            return root._replace(
                multipliers=np.maximum(root.multipliers, 0.0),
                converged=done,
                contraction=contraction,
            )
        active = active.copy()
        if backward:
            active[np.argmin(pulls)] = False
        else:
            worst = np.argmin(np.where(violated, margins, np.inf))
            make_room(gradients, root.multipliers, active, int(worst))
            active[worst] = True
        if active.tobytes() in seen:
            return root._replace(converged=False, contraction=contraction)
        root = newton(model, root.theta, active, max_steps)


def carried(
    model: Model,
    theta: Float64[np.ndarray, " weights"],
    weights: Float64[np.ndarray, " margins"],
) -> Bool[np.ndarray, " margins"]:
    """Margins that carry weight, fewer if their gradients are dependent.

    Of dependent ones non-negative least squares picks independent ones that push
    the weights where they are.
    """
    active = weights > CARRIED * np.max(weights)
    gradients = model.jacobian(theta)[1][active]
    triangle = scipy.linalg.qr(gradients.T, mode="r", pivoting=True)[0]
    sizes = np.abs(np.diag(triangle))
    if len(gradients) <= gradients.shape[1] and sizes[-1] > INDEPENDENT * sizes[0]:
        return active
    basis, triangle = np.linalg.qr(gradients.T)
    push, _ = scipy.optimize.nnls(triangle, basis.T @ theta)
    active[np.flatnonzero(active)[push == 0]] = False
    return active


def make_room(gradients, multipliers, active, new):
    """Drop the active margin that the new one replaces, if it depends on them."""
    chosen = np.flatnonzero(active)
    share = np.linalg.lstsq(gradients[chosen].T, gradients[new])[0]
    rest = gradients[new] - share @ gradients[chosen]
    if np.linalg.norm(rest) > INDEPENDENT * np.linalg.norm(gradients[new]):
        return
    positive = share > INDEPENDENT
    if np.any(positive):
        ratio = multipliers[chosen][positive] / share[positive]
        active[chosen[positive][np.argmin(ratio)]] = False
