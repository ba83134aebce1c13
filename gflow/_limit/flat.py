"""Flat directions: are there stationary directions all along them?

Where a rate is zero the second derivative does not decide. A symmetry of the network,
such as a rotation of hidden units, does this harmlessly: the limit is one of a surface
of equals, and the flow tends to it as fast as to an isolated one. A margin that is flat
to all orders is another matter: there a direction need never converge. They differ far
away, so one walks there.
"""

import numpy as np
from jaxtyping import Bool, Float64

from .model import Model
from .newton import Root, newton


STRIDE = 0.3  # radians
WALKS = 5  # along random flat directions
ALIKE = 1e-9  # relative, margins of one surface


def is_surface(
    model: Model,
    root: Root,
    active: Bool[np.ndarray, " margins"],
    flat: Float64[np.ndarray, "weights flat"],
    max_steps: int,
) -> bool:
    """Whether walks along flat directions end at stationary directions of one margin.

    Newton's method must not lead back, as it does if a direction is no part of the
    surface: one in k of these would cost about 1 / sqrt(k) of the way. Half of that is
    allowed, since the surface is curved; five random ways leave one chance in a hundred
    to overlook such a direction.
    """
    random = np.random.default_rng(0)
    dimension = flat.shape[1]
    for _ in range(WALKS):
        way = random.normal(size=dimension)
        way *= STRIDE / np.linalg.norm(way)
        start = np.cos(STRIDE) * root.theta + np.sinc(STRIDE / np.pi) * (flat @ way)
        there = newton(model, start, active, max_steps)
        if not there.converged:
            return False
        back = flat.T @ (there.theta - start)
        norms = np.linalg.norm(there.theta) / np.linalg.norm(root.theta)
        if abs(norms - 1) > ALIKE:  # margins are all one: norms tell them apart
            return False
        if np.linalg.norm(back) > STRIDE / 2 / np.sqrt(dimension):
            return False
    return True
