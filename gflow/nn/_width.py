"""The width of smoothed kinks: its default, its unit, and how to change it."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, PyTree

from .. import _tree
from .._tree import Fixed, Network
from .._types import Scalar


EPS = 1e-5
"""The default width of a kink, for weights of norm one."""


def radius(network: PyTree) -> Scalar:
    r"""The norm $|w|$ of all weights of a network, which smoothed kinks are scaled by.

    Differentiable; its derivative at $w = 0$ is taken to be zero. Safe from overflow
    and underflow.

    Args:
        network: Any PyTree; its weights are its inexact arrays outside of `Fixed`.

    Returns:
        A scalar.

    Example:
        `gflow.nn.relu(self.weight @ x, gflow.nn.radius(self))`
    """
    leaves = jax.tree.leaves(_tree.parameters(network))
    still = jax.lax.stop_gradient(leaves)
    largest = jnp.max(
        jnp.stack([jnp.zeros(()), *(jnp.max(jnp.abs(u), initial=0) for u in still)])
    )
    # The unit changes nothing but rounding, so that no derivative goes through it.
    moved = largest > 0
    unit = jnp.where(moved, largest, 1.0)
    square = sum((jnp.sum((leaf / unit) ** 2) for leaf in leaves), jnp.zeros(()))
    return jnp.where(moved, unit * jnp.sqrt(jnp.where(moved, square, 1.0)), 0.0)


def with_eps(network: Network, eps: ArrayLike) -> Network:
    """A network whose kinks have another width, all of them; nothing is recompiled.

    Args:
        network: Any Equinox module; the widths are its fields named `eps` that hold a
            `gflow.nn.Fixed`, at any depth.
        eps: The width on the unit sphere; 0 for exact kinks.

    Returns:
        The network of the same weights.

    Raises:
        ValueError: If `eps` is negative or not finite, or there is no such field.
        RuntimeError: Likewise, if `eps` is an array, also under `jit`.

    Example:
        `exact = gflow.nn.with_eps(network, 0.0)`
    """
    fixed = fixed_width(eps)
    paths, structure = jax.tree_util.tree_flatten_with_path(
        network, is_leaf=lambda node: isinstance(node, Fixed)
    )
    here = [_is_width(path, leaf) for path, leaf in paths]
    if not any(here):
        raise ValueError(
            "`network` must have a field `eps` that is a `gflow.nn.Fixed`, but has "
            "none: it has no smoothed kinks, or their width is written elsewhere."
        )
    leaves = [
        fixed if is_width else leaf
        for is_width, (_, leaf) in zip(here, paths, strict=True)
    ]
    return jax.tree.unflatten(structure, leaves)


def fixed_width(eps: ArrayLike) -> Fixed:
    """A width as an array that no flow moves, or an error."""
    if isinstance(eps, bool | int | float | np.number) and not 0 <= eps < math.inf:
        raise ValueError(
            f"`eps` must be finite and at least 0, but is {eps!r}. "
            "For the exact kink, pass 0."
        )
    if jnp.shape(eps) != ():
        raise ValueError(
            f"`eps` must be one number, but has shape {jnp.shape(eps)}. "
            "For several widths, map over them."
        )
    width = jnp.asarray(eps, float)
    if isinstance(eps, jax.Array):
        width = eqx.error_if(
            width,
            ~((width >= 0) & jnp.isfinite(width)),
            "`eps` must be finite and at least 0.",
        )
    return Fixed(width)


def _is_width(path: tuple, leaf: object) -> bool:
    return isinstance(leaf, Fixed) and jax.tree_util.keystr(path).endswith(".eps")
