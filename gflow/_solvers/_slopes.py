"""How dual weights follow their margins, on the way to where these must be.

Newton's method for the weights takes the slope of their logarithms at the margins.
Where slopes saturate, as those of logistic samples that are far from fitted, it says
nothing of the way to margins that have the weights as they are known, and weights are
thrown far off, for ever. The slope in the mean over that way leads there.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._flow import AbstractFlow


SHORT = 1e-3
"""The slope at the margins serves where they miss their weights by fewer nats."""

FARTHEST = 1e280
"""No way is longer."""

ROUNDS = 24
"""Of bisection for a way."""


def slopes_toward(
    flow: AbstractFlow, margins: Float[Array, " m"], residual: Float[Array, " m"]
) -> tuple[Float[Array, "samples rivals"], Float[Array, "samples rivals"] | None]:
    """`weight_slopes` of a loss, in the mean where margins must grow and that is more.

    Where the weights of a sample depend on all its margins they are those at these.

    Args:
        flow: With the loss.
        margins: The margins.
        residual: By how much the logarithm of each weight is more than theirs.
    """
    slopes, shares = flow.loss.weight_slopes(margins.reshape(-1, flow.rivals))
    if shares is not None:
        return slopes, shares
    short = residual < -SHORT
    goal = flow.log_weights(margins) + residual

    def too_short(way):
        missed = flow.log_weights(margins + way) > goal
        return short & missed & (way < FARTHEST)

    def halved(_, ends):
        near, far = ends
        middle = (near + far) / 2
        is_near = flow.log_weights(margins + middle) > goal
        return jnp.where(is_near, middle, near), jnp.where(is_near, far, middle)

    def steeper():
        far = jax.lax.while_loop(
            lambda way: jnp.any(too_short(way)),
            lambda way: jnp.where(too_short(way), 2 * way, way),
            jnp.where(short, -residual, 1.0),
        )
        _, way = jax.lax.fori_loop(0, ROUNDS, halved, (jnp.zeros_like(far), far))
        mean = jnp.where(short, -residual / way, 0.0)
        return jnp.maximum(slopes, mean.reshape(slopes.shape))

    return jax.lax.cond(jnp.any(short), steeper, lambda: slopes), None
