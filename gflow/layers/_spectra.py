import jax.numpy as jnp
from jaxtyping import Array, Float

from .._point import Point
from ._matrices import matrices, singular_values


def spectral_ratios(point: Point) -> Float[Array, " layers"]:
    r"""$\|W_k\|_2 / \|W_k\|_F$ of each layer: 1 if and only if it has rank one.

    It tends to 1 along the flow of deep linear networks on separable data.

    Args:
        point: Of any network; each array of weights is a layer, kernels as matrices
            (out, rest).

    Returns:
        One ratio a layer, at most 1. NaN for a layer of zeros.

    Example:
        `curve.map(gflow.layers.spectral_ratios)`

    References:
        Ji and Telgarsky (2018), "Gradient descent aligns the layers of deep linear
        networks", arXiv:1810.02032.
    """
    return jnp.stack(
        [singular_values(matrix)[0] for matrix in matrices(point.direction)]
    )


def stable_ranks(point: Point) -> Float[Array, " layers"]:
    r"""$\|W_k\|_F^2 / \|W_k\|_2^2$ of each layer: a rank that noise does not raise.

    Args:
        point: As for `spectral_ratios`.

    Returns:
        One number a layer, from 1 to its rank. NaN for a layer of zeros.

    Example:
        `curve.map(gflow.layers.stable_ranks)`

    References:
        Frei, Vardi, Bartlett, Srebro and Hu (2022), "Implicit bias in leaky ReLU
        networks trained on high-dimensional data", arXiv:2210.07082. Kou, Chen and Gu
        (2023), arXiv:2310.18935.
    """

    def stable_rank(values):
        return 1 + jnp.sum((values[1:] / values[0]) ** 2)

    return jnp.stack(
        [stable_rank(singular_values(w)) for w in matrices(point.direction)]
    )


def rank_one_residuals(point: Point) -> Float[Array, " layers"]:
    r"""$\| W_k / \|W_k\|_F - u_k v_k^\top \|_F$ of each layer.

    $u_k, v_k$ are its top singular vectors. The residual has digits down to rounding,
    1e-16, where `spectral_ratios` rounds to 1.

    Args:
        point: As for `spectral_ratios`.

    Returns:
        One residual a layer. NaN for a layer of zeros.

    Example:
        `curve.map(gflow.layers.rank_one_residuals)`

    References:
        Ji and Telgarsky (2018), "Gradient descent aligns the layers of deep linear
        networks", arXiv:1810.02032.
    """

    def residual(values):
        # 1 - s = (1 - s^2) / (1 + s), and 1 - s^2 is the sum of the other squares.
        rest = jnp.sum(values[1:] ** 2)
        return jnp.hypot(rest / (1 + values[0]), jnp.sqrt(rest))

    return jnp.stack([residual(singular_values(w)) for w in matrices(point.direction)])
