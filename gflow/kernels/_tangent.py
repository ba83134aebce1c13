import jax.numpy as jnp
from jaxtyping import Array, Float

from .._point import Point
from .._polar import jacobian, require_margins
from .._types import Scalar


def tangent(point: Point) -> Float[Array, "margins margins"]:
    r"""The neural tangent kernel of the margins, at weights of norm one.

    $$K_{ij} = \langle \nabla z_i(\theta), \nabla z_j(\theta) \rangle$$

    At norm $r$ it is $r^{2(L-1)}$ times this.

    Args:
        point: Of a positively homogeneous network that classifies.

    Returns:
        A symmetric positive semidefinite matrix.

    Raises:
        ValueError: If the network has no degree, or the flow is one of regression.

    Example:
        `curve.map(gflow.kernels.tangent)`

    References:
        Jacot, Gabriel and Hongler (2018), "Neural tangent kernel: convergence and
        generalization in neural networks", arXiv:1806.07572.
    """
    require_margins(point)
    gradients = jacobian(point)[1]
    return gradients @ gradients.T


def change(point: Point, start: Point) -> Scalar:
    r"""How far the tangent kernel has moved: $\|K - K_0\|_F / \|K_0\|_F$.

    Small along a whole run in the lazy regime alone. As the norm of the weights grows
    without bound so does this, like $r^{2(L-1)}$, if $L > 1$.

    Args:
        point: Of a positively homogeneous network that classifies.
        start: The point to compare with, such as `curve[0]`.

    Returns:
        A scalar, not negative; `inf` where it overflows. NaN if the kernel of `start`
        is zero.

    Example:
        `curve.map(lambda point: gflow.kernels.change(point, curve[0]))`

    References:
        Chizat, Oyallon and Bach (2019), "On lazy training in differentiable
        programming", arXiv:1812.07956.
    """
    before, after = tangent(start), tangent(point)
    assert point.degree is not None
    grown = 2 * (point.degree - 1) * (point.log_radius - start.log_radius)
    largest = jnp.maximum(grown, 0.0)  # so that no entry overflows
    change = jnp.exp(grown - largest) * after - jnp.exp(-largest) * before
    return jnp.exp(largest) * jnp.linalg.norm(change) / jnp.linalg.norm(before)
