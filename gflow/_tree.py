"""A network as a point of Euclidean space: its parameters, their norm and scale.

The parameters of a network are its inexact arrays outside of `Fixed`; everything else
(static fields, integers, functions) is structure and never moves.
"""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from ._types import Scalar


Network = TypeVar("Network", bound=PyTree)


class Fixed(eqx.Module):
    """A part of a network that the flow does not move: its arrays are no weights.

    For a frozen layer or a constant. The network reads `value`.

    Args:
        value: Any array or PyTree.

    Example:
        `eqx.tree_at(lambda net: net.head, net, gflow.nn.Fixed(net.head))` freezes a
        head that the network calls as `self.head.value`.
    """

    value: Any


def moves(network: PyTree) -> PyTree:
    """Which leaves of a network are parameters; `Fixed` counts as one leaf."""
    return jax.tree.map(
        lambda leaf: not isinstance(leaf, Fixed) and eqx.is_inexact_array(leaf),
        network,
        is_leaf=lambda node: isinstance(node, Fixed),
    )


def partition(network: PyTree) -> tuple[PyTree, PyTree]:
    """The parameters of a network, and the rest; `equinox.combine` joins them."""
    return eqx.partition(network, moves(network))


def parameters(network: PyTree) -> PyTree:
    """The parameters of a network; `None` in place of all other leaves."""
    return partition(network)[0]


def vector(network: PyTree) -> Float[np.ndarray, " weights"]:
    """The parameters of a network as one vector."""
    leaves = jax.tree.leaves(parameters(network))
    return np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])


def dot(a: PyTree, b: PyTree) -> Scalar:
    """The inner product of the parameters of two networks of one structure."""
    products = jax.tree.map(lambda u, v: jnp.sum(u * v), parameters(a), parameters(b))
    return sum(jax.tree.leaves(products), start=jnp.zeros(()))


def norm(network: PyTree) -> Scalar:
    """The Euclidean norm of all parameters; safe from overflow and underflow."""
    leaves = jax.tree.leaves(parameters(network))
    largest = jnp.max(
        jnp.stack([jnp.max(jnp.abs(leaf), initial=0.0) for leaf in leaves])
    )
    unit = jnp.where(largest > 0, largest, 1.0)
    return unit * jnp.sqrt(sum(jnp.sum((leaf / unit) ** 2) for leaf in leaves))


def scale(network: Network, factor: Scalar | float) -> Network:
    """The network whose every parameter is multiplied by `factor`."""
    moving, still = partition(network)
    return eqx.combine(jax.tree.map(lambda leaf: factor * leaf, moving), still)


def normalize(network: Network) -> Network:
    """The network of the same direction whose parameters have norm one."""
    radius = norm(network)
    moving, still = partition(network)
    return eqx.combine(jax.tree.map(lambda leaf: leaf / radius, moving), still)
