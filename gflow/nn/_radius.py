import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .. import _tree
from .._types import Scalar


def radius(network: PyTree) -> Scalar:
    r"""The norm $|w|$ of all weights of a network, by which terms get equal degrees.

    Differentiable; its derivative at $w = 0$ is taken to be zero. Safe from overflow
    and underflow.

    Args:
        network: Any PyTree; its weights are its inexact arrays outside of `Fixed`.

    Returns:
        A scalar.

    Example:
        `self.second(h) + gflow.nn.radius(self) * h`, a skip of the same degree.
    """
    leaves = jax.tree.leaves(_tree.parameters(network))
    sizes = [jnp.max(jnp.abs(leaf), initial=0.0) for leaf in leaves]
    # The unit changes nothing but rounding, so that no derivative goes through it.
    largest = jax.lax.stop_gradient(jnp.max(jnp.stack([jnp.zeros(()), *sizes])))
    moved = largest != 0
    unit = jnp.where(moved, largest, 1.0)
    square = sum((jnp.sum((leaf / unit) ** 2) for leaf in leaves), jnp.zeros(()))
    return jnp.where(moved, unit * jnp.sqrt(jnp.where(moved, square, 1.0)), 0.0)
