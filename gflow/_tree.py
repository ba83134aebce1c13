"""A network as a point of Euclidean space: its parameters, their norm and scale.

The parameters of a network are its inexact arrays; everything else (static fields,
integers, functions) is structure and never moves.
"""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ._types import Scalar


Network = TypeVar("Network", bound=PyTree)


def parameters(network: PyTree) -> PyTree:
    """The inexact arrays of a network; `None` in place of all other leaves."""
    return eqx.filter(network, eqx.is_inexact_array)


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
    moving, still = eqx.partition(network, eqx.is_inexact_array)
    return eqx.combine(jax.tree.map(lambda leaf: factor * leaf, moving), still)


def normalize(network: Network) -> Network:
    """The network of the same direction whose parameters have norm one."""
    radius = norm(network)
    moving, still = eqx.partition(network, eqx.is_inexact_array)
    return eqx.combine(jax.tree.map(lambda leaf: leaf / radius, moving), still)
