import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._point import Point
from ..paths._rotation import direction_of
from ._directions import directions_of


def rotations(
    point: Point, start: Point | PyTree, layer: int = 0
) -> Float[Array, " units"]:
    r"""The angle by which the incoming weights of each unit have turned, in radians.

    Args:
        point: Of a network whose layers are matrices.
        start: Another point of the same structure, or a network, such as the one a flow
            starts from.
        layer: Which layer's units; 0 is the first.

    Returns:
        One angle in $[0, \pi]$ a unit. NaN for a unit whose weights are zero in either.

    Raises:
        ValueError: If there is no such layer.

    Example:
        `curve.map(lambda point: gflow.neurons.rotations(point, start))`

    References:
        Telgarsky (2022), "Feature selection and low test error in shallow low-rotation
        ReLU networks", arXiv:2208.02789.
    """
    here = directions_of(point.direction, layer)
    there = directions_of(direction_of(start), layer)
    apart = jnp.linalg.norm(here - there, axis=1)
    return 2 * jnp.arctan2(apart, jnp.linalg.norm(here + there, axis=1))
