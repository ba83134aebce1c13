"""What a network may be made of: plain functions, and JAX arrays of weights."""

import math

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree


def require_plain(network: PyTree) -> None:
    """Refuse modules whose output depends on more than the input and the weights.

    Raises:
        ValueError: If there is one.
    """

    def is_special(node) -> bool:
        keeps = isinstance(node, eqx.nn.StatefulLayer)
        keeps = keeps and not isinstance(node, eqx.nn.Sequential)
        return keeps or isinstance(node, eqx.nn.Dropout)

    for node in filter(is_special, jax.tree.leaves(network, is_leaf=is_special)):
        name = type(node).__name__
        if isinstance(node, eqx.nn.StatefulLayer):
            raise ValueError(
                "`network` must be a function of its input and its weights alone, but "
                f"holds `{name}`, which keeps a state: its flow is not that of a loss. "
                "Leave it out, or use `eqx.nn.LayerNorm`."
            )
        if not node.inference and node.p > 0:
            raise ValueError(
                "`network` must be a function of its input and its weights alone, but "
                f"holds `{name}` that draws at random. Pass "
                "`eqx.nn.inference_mode(network)`."
            )


def checked_weights(weights: PyTree) -> PyTree:
    """The weights in NumPy, scaled to norm one.

    Raises:
        ValueError: If they are not JAX arrays of finite float64, or all zero.
    """
    leaves = jax.tree_util.tree_leaves_with_path(weights)
    if not leaves:
        raise ValueError(
            "`network` must have weights, but holds no array of floats. Python floats "
            "and static fields are none: pass them through `jnp.asarray`."
        )
    for path, leaf in leaves:
        name = f"network{jax.tree_util.keystr(path)}"
        if not isinstance(leaf, jax.Array):
            raise ValueError(
                f"`{name}` must be a JAX array if it is a weight, but is NumPy's. To "
                "train it, pass it through `jnp.asarray`; a constant stands inside of "
                "`gflow.nn.Fixed`, or in a static field."
            )
        if leaf.dtype.kind == "c":
            raise ValueError(
                f"`{name}` must be float64, but is {leaf.dtype}. Keep real and "
                "imaginary parts as two arrays: a flow moves real numbers."
            )
        if leaf.dtype != np.float64:
            raise ValueError(
                f"`{name}` must be float64, but is {leaf.dtype}. Make the network "
                'after `jax.config.update("jax_enable_x64", True)`.'
            )
        if not np.all(np.isfinite(np.asarray(leaf))):
            raise ValueError(f"`{name}` must be finite, but holds NaN or inf.")
    weights = jax.tree.map(np.asarray, weights)
    largest = max(
        np.max(np.abs(leaf), initial=0.0) for leaf in jax.tree.leaves(weights)
    )
    if largest == 0:
        raise ValueError(
            "`network` must have a nonzero weight, but all are zero, where the flow "
            "never moves. For a small start, multiply random weights by 1e-10."
        )
    # In two steps: squares of 1e-200 underflow. Division: 1 / 1e-310 overflows.
    weights = jax.tree.map(lambda leaf: leaf / largest, weights)
    return times(1 / norm(weights), weights)


def times(factor: float, weights: PyTree) -> PyTree:
    """All weights times a number."""
    return jax.tree.map(lambda leaf: factor * leaf, weights)


def norm(weights: PyTree) -> float:
    """The Euclidean norm of all weights."""
    return math.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(weights)))
