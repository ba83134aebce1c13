"""The vector field of any flow in log-time, and its Jacobian, for solvers of SciPy."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .. import _tree
from .._flow import AbstractFlow
from .._types import Scalar


def _field(
    s: Scalar, w: Float[Array, " weights"], flow: AbstractFlow, network: PyTree
) -> Float[Array, " weights"]:
    """dw/ds in units of the initial norm, which the network given has."""
    weights, still = _tree.partition(network)
    _, unravel = ravel_pytree(weights)
    size = _tree.norm(network)

    def margins(w):
        return flow.margins(eqx.combine(unravel(size * w), still))

    z, pullback = jax.vjp(margins, w)
    log_losses, loss_pullback = jax.vjp(flow.log_losses, z)
    (slopes,) = loss_pullback(jnp.ones_like(log_losses))
    # d l / d z = l d log l / d z, with the exponent of time in one exponential. An
    # error that is zero pulls nothing, where its logarithm has no derivative.
    each = jnp.repeat(log_losses, flow.per_sample) - math.log(flow.samples)
    # The derivative of the margins is in units: size / size^2.
    pulls = -jnp.exp(s + each - 2 * jnp.log(size)) * slopes
    pulls = jnp.where((z == 0) & (flow.kind == "targets"), 0.0, pulls)
    (pull,) = pullback(pulls)
    sizes = tuple(leaf.shape for leaf in jax.tree.leaves(weights))
    return flow.norm_of(sizes).direction(pull)


velocity: Callable = eqx.filter_jit(_field)
"""dw/ds at s = log(1 + t), in units of the initial norm; compiled once for a shape."""

velocities: Callable = eqx.filter_jit(jax.vmap(_field, in_axes=(0, 0, None, None)))
"""The same at many times and weights."""

jacobian: Callable = eqx.filter_jit(jax.jacfwd(_field, argnums=1))
"""Its derivative in the weights."""
