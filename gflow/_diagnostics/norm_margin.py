import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .. import _tree
from .._flow import AbstractFlow
from .._norms import NORMS, AbstractNorm, Sizes, checked_norm
from .._types import Scalar
from .polar import Polar


def norm_margin(flow: AbstractFlow, network: PyTree, norm: str) -> Scalar:
    r"""The smallest margin of a network scaled to norm one, in any norm of its weights.

    $$\min_i z_i(w) / \|w\|^L$$

    with the norm as it is named, not smoothed. It does not depend on the scale of the
    weights, nor on the norm in which the flow is steepest.

    Args:
        flow: Data and loss; the loss plays no part.
        network: A positively homogeneous network.
        norm: `"l2"`, `"linf"`, `"l1"` or `"spectral"`, as for `gflow.SteepestFlow`.

    Returns:
        A scalar, positive if and only if every sample is classified correctly. NaN if
        all weights are zero.

    Raises:
        ValueError: If `norm` is none.

    Example:
        `trajectory.map(lambda net: gflow.norm_margin(flow, net, "linf"))`

    References:
        Tsilivis, Vardi and Kempe (2025), arXiv:2410.22069, where it is written
        $\gamma$.
    """
    polar = Polar(flow, network)
    measure = NORMS[checked_norm(norm)](0.0, _sizes(network))
    size = _size(measure, polar.direction)
    return jnp.min(polar.margins) / size**polar.degree


def steepest_margin(
    flow: AbstractFlow, network: PyTree, log_radius: Scalar | float | None = None
) -> Scalar:
    r"""The smoothed margin in the very norm in which the flow is steepest.

    $$\tilde\gamma = \alpha / \|w\|_\delta^L, \qquad
      \alpha = \ell^{-1}\Bigl(\sum_i \ell(z_i(w))\Bigr)$$

    Along the flow it does not fall once $\alpha > 0$, whatever the norm. For a
    `GradientFlow` it is `smoothed_margin`; for a `SteepestFlow` the norm is the
    smoothed one, so that the law is exact.

    Args:
        flow: Data, loss and norm.
        network: A positively homogeneous network.
        log_radius: $\log |w|_2$, to look at the network at this Euclidean norm; by
            default its own.

    Returns:
        A scalar, positive if and only if $\alpha$ is. NaN if all weights are zero.

    Example:
        `trajectory.map(lambda net, rho: gflow.steepest_margin(flow, net, rho),
        trajectory.log_radius)`

    References:
        Tsilivis, Vardi and Kempe (2025), arXiv:2410.22069, Theorem 1, where it is
        written $\tilde\gamma$.
    """
    polar = Polar(flow, network, log_radius)
    size = _size(flow.norm_of(_sizes(network)), polar.direction)
    return polar.smoothed_margin() / size**polar.degree


def _sizes(network: PyTree) -> Sizes:
    leaves = jax.tree.leaves(_tree.parameters(network))
    return tuple(jnp.shape(leaf) for leaf in leaves)


def _size(norm: AbstractNorm, network: PyTree) -> Scalar:
    leaves = jax.tree.leaves(_tree.parameters(network))
    return norm(jnp.concatenate([jnp.ravel(leaf) for leaf in leaves]))
