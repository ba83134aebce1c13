import itertools

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._point import Point
from ..layers._matrices import chained
from ..nn import MLP, DeepLinear


def balance(point: Point) -> tuple[Float[Array, " _width"], ...]:
    r"""$|W_k[j, :]|^2 - p\,|W_{k+1}[:, j]|^2$ for each hidden unit $j$.

    With $p$ the power of the activation (1 if there is none). Constant along every
    gradient flow, whatever the loss, since each unit is homogeneous in both.

    Args:
        point: Of a fully connected network of `gflow.nn`.

    Returns:
        One vector a hidden layer, in units of $r^2$; see `gflow.layers.balance`.

    Raises:
        ValueError: If the network is no `gflow.nn.MLP` or `gflow.nn.DeepLinear`.

    Example:
        `curve.map(gflow.neurons.balance)`

    References:
        Lyu and Li (2020), arXiv:1906.05890, for layers. Kumar and Haupt (2024), "Early
        directional convergence in deep homogeneous neural networks for small
        initializations", arXiv:2403.08121, for $p > 1$.
    """
    network = point.network
    if not isinstance(network, MLP | DeepLinear):
        raise ValueError(
            "`point.network` must be a `gflow.nn.MLP` or `gflow.nn.DeepLinear`, whose "
            f"units are known, but is {type(network).__name__}."
        )
    power = network.power if isinstance(network, MLP) else 1
    chain = chained(network, "gflow.neurons.balance")
    return tuple(
        jnp.sum(before**2, axis=1) - power * jnp.sum(after**2, axis=0)
        for before, after in itertools.pairwise(chain)
    )
