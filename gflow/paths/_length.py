import jax
import numpy as np
from jaxtyping import Float64

from .. import _tree
from .._curve import AbstractCurve
from .._log_time import NODES


POINTS, WEIGHTS = np.polynomial.legendre.leggauss(8)
_FRACTIONS = (1 + POINTS) / 2
# From values at the nodes to the quartic through them, and its derivative.
_POWERS = np.linalg.inv(np.vander(NODES, increasing=True))
_VALUES = _FRACTIONS[:, None] ** np.arange(5) @ _POWERS
_SLOPES = (np.arange(1, 5) * _FRACTIONS[:, None] ** np.arange(4)) @ _POWERS[1:]


def length(curve: AbstractCurve) -> Float64[np.ndarray, " times"]:
    r"""The length $\zeta$ of the curve of directions, from the start to each sample.

    $$\zeta(t) = \int_0^t |\dot\theta| \,\mathrm dt$$

    Finite as $t \to \infty$ for definable networks once the loss is small, and then the
    direction converges. If the curve has its dense output it is the length of
    that curve. Else (from `at`, or with `save`) it is the sum of the angles between one
    sample and the next: a lower bound, and a poor one if there are few.

    Args:
        curve: What `gflow.solve` or `gflow.descent.descend` returned.

    Returns:
        Radians; zero first, and never falling.

    Example:
        `gflow.paths.length(curve)[-1]`

    References:
        Ji and Telgarsky (2020), "Directional convergence and alignment in deep
        learning", arXiv:2006.06657, where it is written $\zeta$.
    """
    directions = _flat(curve.direction)
    if curve.steps is None:
        return np.append(0.0, np.cumsum(_angles(directions[:-1], directions[1:])))
    lengths = [
        _length(start, nodes, rates)
        for start, nodes, rates in zip(
            directions[:-1],
            np.asarray(curve.steps.nodes),
            np.asarray(curve.steps.rates),
            strict=True,
        )
    ]
    return np.append(0.0, np.cumsum(lengths))


def _length(start, nodes, rates):
    """Of the direction of exp(rates f) v(f), with v the quartic through the nodes."""
    values = np.concatenate([start[None], nodes])
    grown = np.exp(rates * _FRACTIONS[:, None])
    point = grown * (_VALUES @ values)
    motion = grown * (_SLOPES @ values) + rates * point
    norm = np.linalg.norm(point, axis=1, keepdims=True)
    point, motion = point / norm, motion / norm
    motion -= np.sum(point * motion, axis=1, keepdims=True) * point
    return np.linalg.norm(motion, axis=1) @ WEIGHTS / 2


def _flat(networks):
    leaves = jax.tree.leaves(_tree.parameters(networks))
    return np.concatenate([np.asarray(a).reshape(len(a), -1) for a in leaves], axis=1)


def _angles(a, b):
    """Angles between unit vectors, exact also for small ones."""
    apart = np.linalg.norm(a - b, axis=1)
    return 2 * np.arctan2(apart, np.linalg.norm(a + b, axis=1))
