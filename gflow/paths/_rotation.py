import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .. import _tree
from .._point import Point
from .._types import Scalar


def rotation(point: Point, start: Point | PyTree) -> Scalar:
    r"""The angle between the weights of two networks, in radians.

    Args:
        point: Where the network is.
        start: Another point of the same structure, or a network, such as the one a flow
            starts from.

    Returns:
        An angle in $[0, \pi]$, with all digits also near its ends.

    Example:
        `curve.map(lambda point: gflow.paths.rotation(point, start))`

    References:
        Telgarsky (2022), "Feature selection and low test error in shallow low-rotation
        ReLU networks", arXiv:2208.02789.
    """
    here, there = point.direction, direction_of(start)
    return 2 * jnp.arctan2(_norm_of_sum(here, there, -1), _norm_of_sum(here, there, 1))


def log_distance(point: Point, start: Point | PyTree) -> Scalar:
    r"""$\log |w - w_0|$, the logarithm of the distance between two networks' weights.

    Args:
        point: Where the network is.
        start: As for `rotation`.

    Returns:
        A logarithm: `-inf` at distance zero.

    Example:
        `curve.map(lambda point: gflow.paths.log_distance(point, start))`

    References:
        Telgarsky (2022), "Feature selection and low test error in shallow low-rotation
        ReLU networks", arXiv:2208.02789.
    """
    near, far = log_radius_of(start), jnp.asarray(point.log_radius)
    largest = jnp.maximum(near, far)
    here = _tree.scale(point.direction, jnp.exp(far - largest))
    there = _tree.scale(direction_of(start), jnp.exp(near - largest))
    return largest + jnp.log(_norm_of_sum(here, there, -1))


def direction_of(start: Point | PyTree) -> PyTree:
    """The direction of a point or a network."""
    return start.direction if isinstance(start, Point) else _tree.normalize(start)


def log_radius_of(start: Point | PyTree) -> Scalar:
    """The logarithm of the norm of a point or a network."""
    return start.log_radius if isinstance(start, Point) else jnp.log(_tree.norm(start))


def _norm_of_sum(a, b, sign):
    a, b = _tree.parameters(a), _tree.parameters(b)
    return _tree.norm(jax.tree.map(lambda u, v: u + sign * v, a, b))
