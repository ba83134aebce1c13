import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._flow import GradientFlow
from .._types import Scalar
from .polar import Polar, jacobian


def tangent_kernel(
    flow: GradientFlow, network: PyTree
) -> Float[Array, "samples samples"]:
    r"""The neural tangent kernel of the margins, at weights of norm one.

    $$K_{ij} = \langle \nabla z_i(\theta), \nabla z_j(\theta) \rangle$$

    At norm $r$ it is $r^{2(L-1)}$ times this.

    Args:
        flow: Data and loss; the loss plays no part.
        network: A positively homogeneous network, of any norm.

    Returns:
        A symmetric positive semidefinite matrix. NaN if all weights are zero.

    Example:
        `trajectory.map(lambda net: gflow.tangent_kernel(flow, net))`

    References:
        Jacot, Gabriel and Hongler (2018), "Neural tangent kernel: convergence and
        generalization in neural networks", arXiv:1806.07572.
    """
    gradients = jacobian(flow, Polar(flow, network).direction)[1]
    return gradients @ gradients.T


def kernel_change(
    flow: GradientFlow,
    network: PyTree,
    start: PyTree,
    log_radius: Scalar | float | None = None,
) -> Scalar:
    r"""How far the tangent kernel has moved: $\|K - K_0\|_F / \|K_0\|_F$.

    Small along a whole run in the lazy regime alone. As the norm of the weights grows
    without bound so does this, like $r^{2(L-1)}$, if $L > 1$.

    Args:
        flow: Data and loss; the loss plays no part.
        network: A positively homogeneous network.
        start: The network to compare with, such as the one the flow starts from; it
            keeps its own norm.
        log_radius: $\log r$, to look at `network` at this norm; by default its own.

    Returns:
        A scalar, not negative; `inf` where it overflows. NaN if either has no weights
        but zero, or the kernel of `start` is zero.

    Example:
        `trajectory.map(lambda net, rho: gflow.kernel_change(flow, net, start, rho),
        trajectory.log_radius)`

    References:
        Chizat, Oyallon and Bach (2019), "On lazy training in differentiable
        programming", arXiv:1812.07956.
    """
    here, there = Polar(flow, network, log_radius), Polar(flow, start)
    grown = 2 * (here.degree - 1) * (here.log_radius - there.log_radius)
    largest = jnp.maximum(grown, 0.0)  # so that no entry overflows
    before, after = tangent_kernel(flow, start), tangent_kernel(flow, network)
    change = jnp.exp(grown - largest) * after - jnp.exp(-largest) * before
    return jnp.exp(largest) * jnp.linalg.norm(change) / jnp.linalg.norm(before)
