r"""Each weight of a stage by its own law, the others' pulls being as they are expected.

Where Newton's step for all weights leads, $a_k q_k$ of a margin is by its own weight.
The weights go to where their logarithms are those that such margins ask for: by an
exponential law where a weight is small, a linear one where it is large, and as the
loss has it where its slope saturates.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._flow import AbstractFlow
from .._types import Scalar


FLOOR, HUGE = 1e-280, 1e280
"""The least and greatest weights that are kept: logarithms must stay finite."""

LOG_HUGE = 600.0

ENOUGH, MOST = 0.1, 60
"""Weights are sought to so many nats, in so many iterations: mostly in none or two."""

ROUNDED = 1e-14
"""And no better than margins are known, of what adds up to them."""


def own_weights(
    flow: AbstractFlow,
    log_total: Scalar,
    start: Float[Array, " m"],
    expected: tuple[Float[Array, " m"], Float[Array, " m"]],
    own: Float[Array, " m"],
    counts: Bool[Array, " m"],
) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    r"""The solution $q$ of $\log q + c = \log g(z + a (q - p))$, to some nats.

    Args:
        flow: Gives $\log g$ and its slopes.
        log_total: $c$.
        start: A guess of $q$.
        expected: The weights $p$ that are expected of Newton's step, and the margins
            $z$ with them.
        own: $a$.
        counts: The weights that are wanted.

    Returns:
        The weights, and the margins there.
    """
    guess, ahead = expected

    def missed(q):
        # Of the difference: far out, margins without their own part have no digits.
        margins = ahead + own * (q - guess)
        excess = jnp.log(q) + log_total - flow.log_weights(margins)
        rounding = ROUNDED * (jnp.abs(ahead) + own * (q + jnp.abs(guess)))
        off = jnp.abs(excess) > ENOUGH + rounding
        wanted = off & ((q > FLOOR) | (excess < 0)) & counts
        samples = jnp.any(wanted.reshape(-1, flow.per_sample), axis=1)
        return margins, excess, jnp.repeat(samples, flow.per_sample)

    def unfinished(carry):
        q, count = carry
        *_, wanted = missed(q)
        return (count < MOST) & jnp.any(wanted)

    def improved(carry):
        q, count = carry
        margins, excess, wanted = missed(q)
        slopes, shares = slopes_of(flow, margins, counts)
        down, decay = _down(excess, own * q, slopes, shares)
        linear = q * (1 - down)
        law = q * jnp.exp(jnp.clip(-down, -LOG_HUGE, LOG_HUGE))
        # Neither passes the end: at most to where the weight resists for itself.
        up = jnp.maximum(linear, jnp.minimum(law, 1 / (own * decay + FLOOR)))
        new = jnp.where(down < 0, up, jnp.where(down < 0.9, linear, law))
        return jnp.where(wanted, kept_of(new), q), count + 1

    def kept_of(q):
        return jnp.where(counts, jnp.clip(q, FLOOR, HUGE), FLOOR)

    start = kept_of(start)
    found, _ = jax.lax.while_loop(unfinished, improved, (start, jnp.asarray(0)))
    return found, ahead + own * (found - guess)


def slopes_of(
    flow: AbstractFlow, margins: Float[Array, " m"], counts: Bool[Array, " m"]
) -> tuple[
    Float[Array, "samples per_sample"], Float[Array, "samples per_sample"] | None
]:
    """`weight_slopes` of a loss, where some margins of a sample may not count."""
    slopes, shares = flow.loss.weight_slopes(margins.reshape(-1, flow.per_sample))
    if shares is None:
        return slopes, None
    return slopes, jnp.where(counts.reshape(shares.shape), shares, 0.0)


def _down(excess, pulled, slopes, shares):
    """Newton's step down in logarithms of the weights, and their decay."""
    decay = jnp.ravel(slopes)
    if shares is None:
        return excess / (1 + decay * pulled), decay
    # The weights of a sample lose together: 1 + S a q, S = 1 - 1 p'.
    excess, pulled = excess.reshape(shares.shape), pulled.reshape(shares.shape)
    own = excess / (1 + pulled)
    resisted = jnp.sum(shares * pulled / (1 + pulled), axis=1, keepdims=True)
    joint = jnp.sum(shares * pulled * own, axis=1, keepdims=True)
    rest = jnp.maximum(1 - resisted, 1e-30)
    return jnp.ravel(own + joint / rest / (1 + pulled)), decay


def linear_law(
    q: Float[Array, " m"],
    change: Float[Array, " m"],
    mean: Float[Array, " m"],
    stiffness: Float[Array, " m"],
) -> Float[Array, " m"]:
    r"""Where $\log q + A q$ takes the value that a change of the weights predicts.

    Args:
        q: The weights.
        change: The change $\delta$.
        mean: What $\delta$ is divided by for that of the logarithms.
        stiffness: $A$.
    """
    stiffness = jnp.maximum(stiffness, FLOOR)
    target = jnp.log(q) + change / mean + stiffness * (q + change)
    product = wright_omega(target + jnp.log(stiffness))
    return jnp.where(product > 1, product / stiffness, jnp.exp(target - product))


def wright_omega(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""The solution $p > 0$ of $p + \log p = x$, to rounding, for every real $x$."""
    low = jnp.exp(jnp.minimum(x, 1.0))
    guess = jnp.where(x > 1, x - jnp.log(jnp.maximum(x, 1.0)), low / (1 + 0.7 * low))

    def halley(_, p):
        u = (x - p - jnp.log(p)) / (1 + p)
        return jnp.maximum(p * (1 + u / (1 - u / (2 * (1 + p)))), 1e-300)

    return jax.lax.fori_loop(0, 3, halley, jnp.maximum(guess, 1e-300))
