import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from .. import _tree
from .._flow import GradientFlow
from .._types import Scalar
from ..nn import MLP
from ..nn._activation import signed_power


def activation_patterns(
    flow: GradientFlow, network: PyTree
) -> Bool[Array, "samples units"]:
    """Which hidden units each sample activates.

    Args:
        flow: Data and loss; only the inputs play a part.
        network: A fully connected network of `gflow.nn`, of any norm.

    Returns:
        True where the input of a unit is positive, the units of all hidden layers side
        by side, the first layer first. A unit at its kink counts as inactive. All
        false if all weights are zero.

    Raises:
        ValueError: If `network` is not a `gflow.nn.MLP`.

    Example:
        `trajectory.map(lambda net: gflow.activation_patterns(flow, net))`

    References:
        Sridhar and Johansen (2025), arXiv:2505.15013, for changes of patterns.
    """
    if not isinstance(network, MLP):
        raise ValueError(
            "`network` must be a `gflow.nn.MLP`, whose units are known, but is "
            f"{type(network).__name__}."
        )
    direction = _tree.normalize(network)

    def pattern(x: Float[Array, " features"]):
        layers = []
        for weight in direction.weights[:-1]:
            layers.append(weight @ x)
            x = signed_power(layers[-1], network.power, network.leak)
        return jnp.concatenate(layers) > 0

    return jax.vmap(pattern)(flow.x)


def pattern_distance(flow: GradientFlow, network: PyTree, other: PyTree) -> Scalar:
    """The share of pairs of sample and unit that are active in one network alone.

    Args:
        flow: Data and loss; only the inputs play a part.
        network: A fully connected network of `gflow.nn`, of any norm.
        other: One of the same structure, such as the one a flow starts from.

    Returns:
        A number from 0, no change, to 1.

    Raises:
        ValueError: If a network is not a `gflow.nn.MLP`.

    Example:
        `trajectory.map(lambda net: gflow.pattern_distance(flow, net, start))`

    References:
        Sridhar and Johansen (2025), arXiv:2505.15013, for changes of patterns.
    """
    here, there = (activation_patterns(flow, net) for net in (network, other))
    return jnp.mean(here != there, dtype=float)  # of booleans: else float32
