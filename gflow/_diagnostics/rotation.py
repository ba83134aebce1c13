import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .. import _tree
from .._types import Scalar
from .neurons import neuron_directions


def rotation(network: PyTree, start: PyTree) -> Scalar:
    r"""The angle between the weights of two networks, in radians.

    Args:
        network: A network, of any norm.
        start: One of the same structure, such as the one a flow starts from.

    Returns:
        An angle in $[0, \pi]$, with all digits also near its ends. NaN if all weights
        of either are zero.

    Example:
        `trajectory.map(lambda net: gflow.rotation(net, start))`

    References:
        Telgarsky (2022), "Feature selection and low test error in shallow low-rotation
        ReLU networks", arXiv:2208.02789.
    """
    here, there = _tree.normalize(network), _tree.normalize(start)
    return 2 * jnp.arctan2(_norm_of_sum(here, there, -1), _norm_of_sum(here, there, 1))


def neuron_rotations(
    network: PyTree, start: PyTree, layer: int = 0
) -> Float[Array, " units"]:
    r"""The angle by which the incoming weights of each unit have turned, in radians.

    Args:
        network: A network whose layers are matrices, of any norm.
        start: One of the same structure, such as the one a flow starts from.
        layer: Which layer's units; 0 is the first.

    Returns:
        One angle in $[0, \pi]$ a unit. NaN for a unit whose weights are zero in either.

    Raises:
        ValueError: If there is no such layer.

    Example:
        `trajectory.map(lambda net: gflow.neuron_rotations(net, start))`

    References:
        Telgarsky (2022), "Feature selection and low test error in shallow low-rotation
        ReLU networks", arXiv:2208.02789.
    """
    here, there = (neuron_directions(net, layer) for net in (network, start))
    apart = jnp.linalg.norm(here - there, axis=1)
    return 2 * jnp.arctan2(apart, jnp.linalg.norm(here + there, axis=1))


def log_distance(
    network: PyTree, start: PyTree, log_radius: Scalar | float | None = None
) -> Scalar:
    r"""$\log |w - w_0|$, the logarithm of the distance between two networks' weights.

    Args:
        network: A network.
        start: One of the same structure, such as the one a flow starts from; it keeps
            its own norm.
        log_radius: $\log r$, to look at `network` at this norm; by default its own.

    Returns:
        A logarithm: `-inf` at distance zero. NaN if all weights of either are zero.

    Example:
        `trajectory.map(lambda net, rho: gflow.log_distance(net, start, rho),
        trajectory.log_radius)`

    References:
        Telgarsky (2022), "Feature selection and low test error in shallow low-rotation
        ReLU networks", arXiv:2208.02789.
    """
    near = jnp.log(_tree.norm(start))
    far = jnp.log(_tree.norm(network)) if log_radius is None else log_radius
    largest = jnp.maximum(near, far)
    here = _tree.scale(_tree.normalize(network), jnp.exp(far - largest))
    there = _tree.scale(_tree.normalize(start), jnp.exp(near - largest))
    return largest + jnp.log(_norm_of_sum(here, there, -1))


def _norm_of_sum(a, b, sign):
    a, b = _tree.parameters(a), _tree.parameters(b)
    return _tree.norm(jax.tree.map(lambda u, v: u + sign * v, a, b))
