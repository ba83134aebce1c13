import jax.numpy as jnp

from .. import _tree
from .._point import Point
from .._polar import require_margins
from .._types import Scalar
from ..nn import MLP, DeepLinear


def norm_product(point: Point) -> Scalar:
    r"""The smallest margin over the product of the norms of the layers.

    $$\min_i z_i(w) \Big/ \prod_k \|W_k\|_F^{d_k}$$

    with $d_k$ the degree in layer $k$: 1 for the last, and each time the power of the
    activation more for the one before. It does not depend on the norm of any layer.

    Args:
        point: Of a fully connected network of `gflow.nn` that classifies.

    Returns:
        A scalar, positive if and only if every sample is classified correctly. NaN if
        all weights of a layer are zero.

    Raises:
        ValueError: If the network is no `gflow.nn.MLP` or `gflow.nn.DeepLinear`, or as
            for `normalized`.

    Example:
        `curve.map(gflow.margins.norm_product)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890.
    """
    require_margins(point)
    network = point.direction
    if not isinstance(network, MLP | DeepLinear):
        raise ValueError(
            "`point.network` must be a `gflow.nn.MLP` or `gflow.nn.DeepLinear`, whose "
            f"layers are known, but is {type(network).__name__}."
        )
    power = network.power if isinstance(network, MLP) else 1
    norms = jnp.stack([_tree.norm(weight) for weight in network.weights])
    degrees = jnp.array([float(power) ** k for k in reversed(range(len(norms)))])
    return jnp.min(point.flow.margins(network)) / jnp.prod(norms**degrees)
