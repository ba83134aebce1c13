"""Whether the direction still turns as much as ever.

Near a limit the velocity of the direction falls like a power of the radius, so that all
but nothing is left of the way while log r doubles. A direction that goes as far in each
doubling as in the one before does not converge, whatever its velocity.
"""

from typing import NamedTuple

import jax
import numpy as np

from .. import _tree
from .._curve import AbstractCurve


LATE = 10.0  # log r, before the two last doublings


class Drift(NamedTuple):
    """How far the direction went, in radians, in each of the last doublings of log r.

    Attributes:
        before: In the last but one.
        last: In the last.
    """

    before: float
    last: float


def drift_of(curve: AbstractCurve) -> Drift | None:
    """The drift at the end of a curve; `None` if it did not go on for so long."""
    log_radius = np.asarray(curve.log_radius)
    end = log_radius[-1]
    late = log_radius > 0
    count = int(np.sum(late))
    if not end / 4 >= max(LATE, np.min(log_radius)) or count < 3:
        return None
    leaves = jax.tree.leaves(_tree.parameters(curve.direction))
    points = np.concatenate(
        [np.asarray(leaf)[late].reshape(count, -1) for leaf in leaves], axis=1
    )
    chords = np.linalg.norm(np.diff(points, axis=0), axis=1)
    way = np.concatenate([[0.0], np.cumsum(chords)])
    doublings = np.log2(log_radius[late] / end)
    quarter, half = np.interp([-2.0, -1.0], doublings, way)
    return Drift(float(half - quarter), float(way[-1] - half))
