"""Newton's steps for the weights of a stage: bold ones, and careful ones.

See `_weights`, which takes them.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._types import Scalar
from ._equation import Equation, admitted
from ._iterates import Change, Guess, Iterate, Miss, Slopes
from ._own_law import slopes_of


SHARES = np.asarray([1.0, 0.5, 0.25, 0.1, 0.03])
"""Of Newton's step, among which the best is taken where the step by weight fails."""

LEAST_LEFT = 0.1
"""What a step of Newton's method leaves of each weight."""

RISES = 0.2
"""A share of a step is taken if at its end what is to be least does not rise by more
than this, against how it falls at its start."""

HALVINGS = 14
"""Of a step, until some of it is taken whatever comes of it."""

APART, EPSILON = 0.1, 1e-15
"""Weights that are so many nats from what their margins ask for are none, but for the
rounding of these."""

FOLLOWED = 3
"""So often margins are brought nearer to those that weights ask for."""

GENTLE = 1e-3
"""Slopes of log weights count as this share of the steepest at least; and shares of a
sample as so much less than one."""


def step(
    equation: Equation,
    iterate: Iterate,
    scale: Scalar,
    large: bool,
    guarded: Bool[Array, ""],
) -> tuple[Iterate, Scalar]:
    """One iteration: what follows, and how far the stage moves with it."""
    # Shares of a motion find no way from slopes at which the weights are not.
    holds_motion = equation.gram.holds_motion
    miss = equation.miss(iterate, scale, guarded & holds_motion)
    if not holds_motion:
        linear = equation.goal_beyond(iterate.guess.q, miss.residual)
        miss = miss._replace(beyond=jnp.where(guarded, linear, miss.beyond))
    slopes = equation.slopes(iterate, miss, large | guarded)
    change = equation.newton(iterate, miss, slopes, scale)
    given = iterate, miss, change, slopes, scale
    careful = nearer if holds_motion else searched
    new = jax.lax.cond(
        guarded, lambda: careful(equation, *given), lambda: equation.by_weight(*given)
    )
    moved = jax.tree.map(jnp.subtract, new.guess, iterate.guess)
    error = equation.size(moved) + equation.size(change.guess)
    if holds_motion:
        return new, error

    def if_right():
        steepest = jnp.max(slopes.decay)
        rounded = EPSILON * steepest * scale * equation.spread(new.guess)
        near = equation.distance(new.guess, scale) <= APART + rounded
        return jnp.where(near, error, jnp.inf)

    # A careful step may move nothing where margins are not those that are followed.
    return new, jax.lax.cond(guarded, if_right, lambda: error)


def searched(
    equation: Equation, iterate: Iterate, miss: Miss, change: Change, slopes, scale
) -> Iterate:
    """The largest share of Newton's step along which what is to be least falls.

    At a given total, the weights are those of the least value of a convex function:
    its slope is what they miss, over how steeply their logarithms follow.
    """
    (q, _), (dq, _) = iterate.guess, change.guess
    log_total = iterate.log_total + change.log_total

    def slope(moved, missed):
        return jnp.sum(jnp.where(equation.seen, moved * over(missed, slopes), 0.0))

    falls = jnp.abs(slope(dq, miss.residual + change.log_total))

    def end(share):
        new = admitted(jnp.maximum(q + share * dq, LEAST_LEFT * q))
        return Guess(new, equation.gram.motion(new))

    def rises(carry):
        share, count = carry
        new = end(share)
        there = equation.miss(Iterate(new, miss.linearized, log_total), scale)
        after = slope(new.q - q, there.residual)
        return ~(after <= RISES * share * falls) & (count < HALVINGS)

    def halve(carry):
        share, count = carry
        return share / 2, count + 1

    share, _ = jax.lax.while_loop(rises, halve, (jnp.ones(()), jnp.asarray(0)))
    new = end(share)
    ahead = over(jnp.log(new.q / q) + change.log_total, slopes)
    followed = miss.linearized - ahead
    for _ in range(FOLLOWED):
        steep, shares = slopes_of(equation.flow, followed, equation.seen)
        steep = Slopes(new.q, jnp.maximum(jnp.ravel(steep), 1e-20), shares)
        off = jnp.log(new.q) + log_total - equation.flow.log_weights(followed)
        followed = followed - over(jnp.where(equation.seen, off, 0.0), steep)
    return Iterate(new, followed, log_total)


def nearer(
    equation: Equation, iterate: Iterate, miss: Miss, change: Change, slopes, scale
) -> Iterate:
    """Where the step by weight leads if that is nearer, else the best of shares."""
    new = equation.by_weight(iterate, miss, change, slopes, scale)
    before = jnp.maximum(miss.distance, equation.length(change, slopes, scale))
    return jax.lax.cond(
        equation.distance(new.guess, scale) <= jnp.maximum(before / 2, 1e-20),
        lambda: new,
        lambda: _best_share(equation, iterate, miss, change, slopes, new, scale),
    )


def _best_share(
    equation: Equation,
    iterate: Iterate,
    miss: Miss,
    change: Change,
    slopes,
    other,
    scale,
) -> Iterate:
    """The best of some shares of Newton's step, and of another."""
    (q, motion), (dq, ahead) = iterate.guess, change.guess

    def share_of_weights(share):
        new = admitted(jnp.maximum(q + share * dq, LEAST_LEFT * q))
        guess = equation.moved(iterate.guess, change.guess, share, new)
        return equation.begun(guess, scale)

    def share_of_motion(share):
        return equation.at_motion(motion + share * ahead, scale)

    def joined(*some):
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *some)

    one = jax.tree.map(lambda a: a[None], other)
    by_weights = joined(jax.vmap(share_of_weights)(SHARES), one)
    distances = jax.vmap(lambda new: equation.distance(new, scale))(by_weights.guess)
    by_motion = jax.vmap(share_of_motion)(SHARES)
    misses = jax.vmap(lambda new: equation.miss(new, scale))(by_motion)
    steps = equation.changes(by_motion.guess, misses.residual, slopes, scale)
    further = jax.vmap(lambda step: equation.length(step, slopes, scale))(steps)
    best = jnp.nanargmin(jnp.concatenate([distances, further]))
    return jax.tree.map(lambda some: some[best], joined(by_weights, by_motion))


def over(missed: Float[Array, " m"], slopes: Slopes) -> Float[Array, " m"]:
    """How far margins must move for their log weights to change by so much, negated."""
    if slopes.shares is None:
        return missed / jnp.maximum(slopes.decay, GENTLE * jnp.max(slopes.decay))
    rows = missed.reshape(slopes.shares.shape)
    lack = jnp.maximum(1 - jnp.sum(slopes.shares, axis=1, keepdims=True), GENTLE)
    rows = rows + jnp.sum(slopes.shares * rows, axis=1, keepdims=True) / lack
    return jnp.ravel(rows)
