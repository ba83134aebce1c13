import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from .. import _tree
from .._flow import GradientFlow
from .._types import Scalar
from .polar import Polar, jacobian


def dual_weights(
    flow: GradientFlow, network: PyTree, log_radius: Scalar | float | None = None
) -> Float[Array, " samples"]:
    r"""The pull $q_i \propto -\ell'(z_i)$ of each sample on the flow, summing to one.

    Far out they tend to the multipliers of the max-margin problem, up to a factor.

    Args:
        flow: Data and loss.
        network: A positively homogeneous network.
        log_radius: $\log r$, to look at the network at this norm; by default its own.

    Returns:
        One weight a sample. NaN past $r^L = 10^{10}$, where the direction does not
        determine them: there, take `trajectory.weights`.

    Example:
        `trajectory.map(lambda net, rho: gflow.dual_weights(flow, net, rho),
        trajectory.log_radius)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890.
    """
    return Polar(flow, network, log_radius).weights(None)


def slacks(flow: GradientFlow, network: PyTree) -> Float[Array, " samples"]:
    r"""How far each sample lies behind the margin: $z_i / z_{\min} - 1$.

    Args:
        flow: Data and loss; the loss plays no part.
        network: A positively homogeneous network.

    Returns:
        One number a sample, at least 0 and 0 for the smallest margin. NaN unless all
        margins are positive.

    Example:
        `trajectory.map(lambda net: gflow.slacks(flow, net))`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890.
    """
    margins = flow.margins(_tree.normalize(network))
    smallest = jnp.min(margins)
    return jnp.where(smallest > 0, (margins - smallest) / smallest, jnp.nan)


def support(
    flow: GradientFlow, network: PyTree, tolerance: float = 1e-6
) -> Bool[Array, " samples"]:
    r"""The samples on the margin: those whose slack is at most `tolerance`.

    Along the flow samples of the limit's support keep slacks of about
    $1 / (r^L \bar\gamma)$: a tolerance below that misses some.

    Args:
        flow: Data and loss; the loss plays no part.
        network: A positively homogeneous network.
        tolerance: The largest slack $z_i / z_{\min} - 1$ on the margin.

    Returns:
        True for each sample on the margin; no sample is unless all margins are
        positive.

    Example:
        `trajectory.map(lambda net: gflow.support(flow, net, 1e-3))`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890.
    """
    return slacks(flow, network) <= tolerance


def gradient_alignments(
    flow: GradientFlow, network: PyTree
) -> Float[Array, " samples"]:
    r"""The cosine of the angle between the weights and the gradient of each margin.

    $$\cos \angle(w, \nabla z_i) = \frac{L z_i(\theta)}{|\nabla z_i(\theta)|}$$

    by Euler's identity. All are below 1 in general: it is their mixture by $q$ whose
    cosine, `alignment`, tends to 1.

    Args:
        flow: Data and loss; the loss plays no part.
        network: A positively homogeneous network.

    Returns:
        One cosine a sample. NaN where a gradient is zero, as for a sample that no
        unit sees.

    Example:
        `trajectory.map(lambda net: gflow.gradient_alignments(flow, net))`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for Euler's identity.
    """
    direction = _tree.normalize(network)
    _, gradients = jacobian(flow, direction)
    theta = ravel_pytree(_tree.parameters(direction))[0]
    return gradients @ theta / jnp.linalg.norm(gradients, axis=1)
