import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._point import Point
from ..layers._matrices import chained


def directions(point: Point, layer: int = 0) -> Float[Array, "units inputs"]:
    """The incoming weights of each unit of a layer, at norm one.

    Args:
        point: Of a network whose layers are matrices.
        layer: Which layer's units; 0 is the first.

    Returns:
        One unit vector a row. NaN for a unit whose weights are all zero.

    Raises:
        ValueError: If there is no such layer, or the layers do not fit together.

    Example:
        `curve.map(gflow.neurons.directions)`

    References:
        Boursier and Flammarion (2025), "Early alignment in two-layer networks training
        is a two-edged sword", Journal of Machine Learning Research 26.
    """
    return directions_of(point.direction, layer)


def directions_of(network: PyTree, layer: int) -> Float[Array, "units inputs"]:
    """`directions` of a network."""
    chain = chained(network, "gflow.neurons.directions")
    if not 0 <= layer < len(chain):
        raise ValueError(
            f"`layer` must be one of 0 to {len(chain) - 1}, but is {layer}."
        )
    rows = chain[layer] / jnp.max(jnp.abs(chain[layer]), axis=1, keepdims=True)
    return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)


def shares(point: Point, layer: int = 0) -> Float[Array, " units"]:
    r"""The share of each hidden unit in the squared norm of all weights.

    $(|W_k[j, :]|^2 + |W_{k+1}[:, j]|^2) / |w|^2$; for one hidden layer they sum to 1.

    Args:
        point: Of a network whose layers are matrices.
        layer: Which hidden layer's units; 0 is the first.

    Returns:
        One share a unit, in [0, 1].

    Raises:
        ValueError: If there is no such hidden layer, or the layers do not fit together.

    Example:
        `curve.map(gflow.neurons.shares)`

    References:
        Telgarsky (2022), "Feature selection and low test error in shallow low-rotation
        ReLU networks", arXiv:2208.02789.
    """
    chain = chained(point.direction, "gflow.neurons.shares")
    if not 0 <= layer < len(chain) - 1:
        raise ValueError(
            f"`layer` must be a hidden one, 0 to {len(chain) - 2}, but is {layer}."
        )
    return jnp.sum(chain[layer] ** 2, axis=1) + jnp.sum(chain[layer + 1] ** 2, axis=0)
