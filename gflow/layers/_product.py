from jaxtyping import Array, Float

from .._point import Point
from ..nn import DeepLinear
from ._matrices import chained, unit


def product_direction(point: Point) -> Float[Array, "*classes features"]:
    r"""The linear map $W_L \cdots W_1$ of a deep linear network, at norm one.

    Along the flow on separable data it tends to the direction of the largest linear
    margin, `gflow.reference.hard_margin(x, y).direction`.

    Args:
        point: Of a deep linear network.

    Returns:
        The product divided by its Euclidean (Frobenius) norm; a vector for a scalar
        output. NaN if the product is zero.

    Raises:
        ValueError: If the network is not a `gflow.nn.DeepLinear`.

    Example:
        `curve.map(gflow.layers.product_direction)`

    References:
        Ji and Telgarsky (2018), "Gradient descent aligns the layers of deep linear
        networks", arXiv:1810.02032.
    """
    network = point.direction
    if not isinstance(network, DeepLinear):
        raise ValueError(
            "`point.network` must be a `gflow.nn.DeepLinear`, which is linear in its "
            f"input, but is {type(network).__name__}."
        )
    product, *rest = chained(network, "gflow.layers.product_direction")
    for matrix in rest:
        product = unit(unit(matrix) @ unit(product))
    product = unit(product)
    return product[0] if network.weights[-1].ndim == 1 else product
