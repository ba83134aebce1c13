"""What becomes of deviations from a stationary direction, or from the flow itself."""

import math
from typing import NamedTuple

import numpy as np
import scipy.optimize
from jaxtyping import Float64

from .active import CARRIED
from .escape import growing_time, moving_time
from .flat import is_surface
from .model import Model
from .newton import Root
from .residuals import ON_MARGIN
from .stability import growth


FLAT = 1e-7  # rates below this, in units of L m, are zero
SIDEWAYS = 1e-6  # of a gradient: a direction that changes its margin less is tangent


class Analysis(NamedTuple):
    """A direction and its rates.

    Attributes:
        root: What Newton's method found.
        near: Whether all below speaks of it; else of the end of the curve.
        theta: The direction, of any norm.
        multipliers: One a margin, in the model's units.
        distance: From the end to Newton's point, in radians.
        exponents: Rates in units of L m, decreasing.
        vectors: The directions of the positive ones.
        unstable: How many exponents are positive.
        neutral: How many are zero.
        leaves: Whether the flow can follow a positive one; a margin that is active and
            carries nothing may stand in the way.
        surface: Whether flat directions lead along a surface of equals.
        amplitude: The growing part of the deviation, in radians.
        wait: Until it is large, in log r.
    """

    root: Root
    near: bool
    theta: Float64[np.ndarray, " weights"]
    multipliers: Float64[np.ndarray, " margins"]
    distance: float
    exponents: Float64[np.ndarray, " rates"]
    vectors: Float64[np.ndarray, "weights unstable"]
    unstable: int
    neutral: int
    leaves: bool
    surface: bool
    amplitude: float
    wait: float


def analysis(
    model: Model,
    theta: Float64[np.ndarray, " weights"],
    weights: Float64[np.ndarray, " margins"],
    root: Root,
    degree: float,
    reach: float,
    max_steps: int,
) -> Analysis:
    """Growth of deviations at Newton's point, if within reach, or else at the end."""
    unit = root.theta / np.linalg.norm(root.theta)
    distance = float(2 * np.arcsin(min(1.0, np.linalg.norm(theta - unit) / 2)))
    if root.converged and distance <= reach:
        return at_root(model, theta, root, distance, max_steps)
    return at_end(model, theta, weights, root, degree, distance, reach)


def at_root(model, theta, root, distance, max_steps) -> Analysis:
    """The analysis at a stationary direction."""
    active = root.multipliers > 0
    margins, gradients = model.jacobian(root.theta)
    exponents, vectors = growth(model, root.theta, root.multipliers, gradients[active])
    unstable = int(np.sum(exponents > FLAT))
    flat = np.abs(exponents) <= FLAT
    growing = vectors[:, :unstable]
    size = np.linalg.norm(root.theta)
    parts = growing.T @ (theta - root.theta / size)
    idle = ~active & (margins < 1 + ON_MARGIN)
    steepness = np.linalg.norm(gradients[idle], axis=1, keepdims=True)
    slopes = gradients[idle] @ growing
    blocked = np.any(slopes > SIDEWAYS * steepness, axis=0)
    blocked &= np.any(slopes < -SIDEWAYS * steepness, axis=0)
    return Analysis(
        root=root,
        near=True,
        theta=root.theta,
        multipliers=root.multipliers,
        distance=distance,
        exponents=exponents,
        vectors=growing,
        unstable=unstable,
        neutral=int(np.sum(flat)),
        leaves=bool(np.any(~blocked)),
        surface=not np.any(flat)
        or is_surface(model, root, active, vectors[:, flat], max_steps),
        amplitude=float(np.linalg.norm(parts)),
        wait=growing_time(parts, exponents[:unstable]),
    )


def at_end(model, theta, weights, root, degree, distance, reach) -> Analysis:
    r"""The analysis where the flow now is.

    A deviation $c$ that grows at rate $\sigma$ moves at speed $\sigma c$: so the
    velocity tells how far the flow has left a saddle that need not be found.
    """
    margins, gradients = model.jacobian(theta)
    pulls = weights / (degree * (weights @ margins))
    velocity = pulls @ gradients - theta  # in log r
    active = weights > CARRIED * np.max(weights)
    mean = weights @ gradients
    normals = np.vstack([gradients[active] - mean, theta])
    exponents, vectors = growth(model, theta, pulls, normals)
    unstable = int(np.sum(exponents > FLAT))
    growing, rates = vectors[:, :unstable], exponents[:unstable]
    parts = (growing.T @ velocity) / rates
    if unstable:
        wait = moving_time(growing.T @ velocity, rates)
    else:  # as long as the slowest deviation takes to come within reach
        slow = exponents[exponents < -FLAT]
        known = root.converged and len(slow) > 0
        wait = math.log(distance / reach) / -slow[0] if known else math.nan
    basis, triangle = np.linalg.qr(gradients[active].T)
    multipliers = np.zeros(len(margins))
    multipliers[active] = scipy.optimize.nnls(triangle, basis.T @ theta)[0]
    return Analysis(
        root=root,
        near=False,
        theta=theta,
        multipliers=multipliers,
        distance=distance if root.converged else math.nan,
        exponents=exponents,
        vectors=growing,
        unstable=unstable,
        neutral=int(np.sum(np.abs(exponents) <= FLAT)),
        leaves=unstable > 0,
        surface=False,
        amplitude=float(np.linalg.norm(parts)),
        wait=wait,
    )
