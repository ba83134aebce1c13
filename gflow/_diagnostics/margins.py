import jax.numpy as jnp
from jaxtyping import PyTree

from .. import _tree
from .._flow import AbstractFlow
from .._types import Scalar
from .polar import Polar


def normalized_margin(flow: AbstractFlow, network: PyTree) -> Scalar:
    r"""The smallest margin of a network scaled to norm one.

    $$\bar\gamma = \min_i z_i(\theta) = \min_i z_i(w) / |w|^L, \qquad \theta = w / |w|$$

    It does not depend on the norm of the weights, and may fall along the flow: growth
    is proved for `smoothed_margin`.

    Args:
        flow: Data and loss; the loss plays no part.
        network: A positively homogeneous network.

    Returns:
        A scalar, positive if and only if every sample is classified correctly. NaN if
        all weights are zero.

    Example:
        `trajectory.map(lambda net: gflow.normalized_margin(flow, net))`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, where it is written $\bar\gamma$.
    """
    return jnp.min(flow.margins(_tree.normalize(network)))


def smoothed_margin(
    flow: AbstractFlow, network: PyTree, log_radius: Scalar | float | None = None
) -> Scalar:
    r"""The margin that a single sample with all of the loss would have, normalized.

    $$\tilde\gamma = \alpha / r^L, \qquad
      \alpha = \ell^{-1}\Bigl(\sum_i \ell(z_i(w))\Bigr)$$

    the sum being $n \mathcal L$. Never above the normalized margin, and along the flow
    it does not fall once $\alpha > 0$. For the exponential loss
    $\bar\gamma - \tilde\gamma \leq \log n / r^L$.

    Args:
        flow: Data and loss.
        network: A positively homogeneous network.
        log_radius: $\log r$, to look at the network at this norm; by default its own.

    Returns:
        A scalar. Positive if and only if $\alpha$ is: the summed loss is below 1 for
        the exponential, below $\log 2$ for the logistic. It tends to `-inf` with the
        radius to 0. NaN if all weights are zero.

    Example:
        `trajectory.map(lambda net, rho: gflow.smoothed_margin(flow, net, rho),
        trajectory.log_radius)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, where it is written $\tilde\gamma$.
    """
    return Polar(flow, network, log_radius).smoothed_margin()
