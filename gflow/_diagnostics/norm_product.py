import jax.numpy as jnp
from jaxtyping import PyTree

from .. import _tree
from .._flow import GradientFlow
from .._types import Scalar
from ..nn import MLP, DeepLinear


def norm_product_margin(flow: GradientFlow, network: PyTree) -> Scalar:
    r"""The smallest margin over the product of the norms of the layers.

    $$\min_i z_i(w) \Big/ \prod_k \|W_k\|_F^{d_k}$$

    with $d_k$ the degree in layer $k$: 1 for the last, and each time the power of the
    activation more for the one before. It does not depend on the norm of any layer.

    Args:
        flow: Data and loss; the loss plays no part.
        network: A fully connected network of `gflow.nn`, of any norm.

    Returns:
        A scalar, positive if and only if every sample is classified correctly. NaN if
        all weights of a layer are zero.

    Raises:
        ValueError: If `network` is no `gflow.nn.MLP` or `gflow.nn.DeepLinear`.

    Example:
        `trajectory.map(lambda net: gflow.norm_product_margin(flow, net))`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890.
    """
    if not isinstance(network, MLP | DeepLinear):
        raise ValueError(
            "`network` must be a `gflow.nn.MLP` or `gflow.nn.DeepLinear`, whose layers "
            f"are known, but is {type(network).__name__}."
        )
    power = network.power if isinstance(network, MLP) else 1
    direction = _tree.normalize(network)
    norms = jnp.stack([_tree.norm(weight) for weight in direction.weights])
    degrees = jnp.array([float(power) ** k for k in reversed(range(len(norms)))])
    return jnp.min(flow.margins(direction)) / jnp.prod(norms**degrees)
