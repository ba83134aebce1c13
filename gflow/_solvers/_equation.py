r"""The equation of the dual weights of a stage, and its Newton steps.

Its unknowns are the weights and their motion: see `_weights`, which solves it.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._flow import AbstractFlow
from .._logs import log_sum_exp
from .._types import Scalar
from ._newton import solve_newton
from ._positive import AbstractPositive


FLOOR, HUGE = 1e-280, 1e280
"""The least and greatest weights that are kept: logarithms must stay finite."""

LOG_HUGE = 600.0

SHARES = np.asarray([1.0, 0.5, 0.25, 0.1, 0.03])
"""Of Newton's step, among which the best is taken where the step by weight fails."""

LEAST_LEFT = 0.1
"""What a step of Newton's method leaves of each weight."""

NEAR = 1.0
"""The distance, in nats, of a guess that is near."""


class Guess(NamedTuple):
    """Weights and their motion, or changes of both."""

    q: Float[Array, " m"]
    motion: Float[Array, " r"]


class Miss(NamedTuple):
    """What an equation misses: residual, the distance it amounts to, the margins."""

    residual: Float[Array, " m"]
    distance: Scalar
    margins: Float[Array, " m"]


class Slopes(NamedTuple):
    """What stands for the weights in Newton's step, and how they follow the margins."""

    mean: Float[Array, " m"]
    decay: Float[Array, " m"]
    shares: Float[Array, "samples rivals"] | None


class Equation(eqx.Module):
    """The equation of the weights of a stage, for any scale of its margins."""

    flow: AbstractFlow
    shift: Float[Array, " m"]
    gram: AbstractPositive
    lift: Scalar
    diagonal: Float[Array, " m"]
    seen: Bool[Array, " m"]
    eta: Scalar

    @classmethod
    def of(cls, flow, weights, shift, gram, seen, eta):
        """With a lift by the weights.

        Where one has all of the weight and pulls at nothing, a larger lift would hold
        the others to the rounding of their sum with it.
        """
        diagonal = gram.diagonal()
        lift = jnp.dot(weights, diagonal) / jnp.sum(weights) + 1e-300
        diagonal = jnp.maximum(diagonal, 1e-12 * lift)
        return cls(flow, shift, gram, lift, diagonal, seen, jnp.asarray(eta))

    def margins(self, motion: Float[Array, " r"]) -> Float[Array, " m"]:
        """The margins, without their scale, where a motion leads."""
        return self.shift + self.eta * self.gram.image(motion)

    def spread(self, guess: Guess) -> Scalar:
        """The largest part that a margin may have, all seen."""
        shift = jnp.max(jnp.where(self.seen, jnp.abs(self.shift), 0.0))
        most = jnp.sqrt(jnp.max(self.diagonal)) * self.gram.size(*guess)
        return shift + self.eta * most

    def miss(self, guess: Guess, scale: Scalar) -> Miss:
        """What a guess misses."""
        margins = scale * self.margins(guess.motion)
        residual = jnp.log(guess.q) - goal_of(self.flow, margins, self.seen)
        return Miss(residual, jnp.sum(_gap(guess.q, residual) * residual), margins)

    def distance(self, guess: Guess, scale: Scalar) -> Scalar:
        """How far a guess is from the solution at most, in nats."""
        distance = self.miss(guess, scale).distance
        if not self.gram.holds_motion:
            return distance
        ahead = guess.motion - self.gram.motion(guess.q)
        return distance + self.eta * scale * jnp.sum(ahead**2)

    def at_motion(self, motion: Float[Array, " r"], scale: Scalar) -> Guess:
        """A motion, with the weights that the margins there ask for."""
        margins = scale * self.margins(motion)
        q = jnp.exp(goal_of(self.flow, margins, self.seen))
        return Guess(jnp.maximum(q, FLOOR), motion)

    def better(self, one: Guess, other: Guess, scale: Scalar) -> Guess:
        """The one of two guesses that is nearer, by the length of Newton's step."""

        def length(guess):
            miss = self.miss(guess, scale)
            slopes = self.slopes(guess, miss, False)
            return self.length(self.newton(guess, miss, slopes, scale), slopes, scale)

        def compared():
            nearer = ~(length(one) <= length(other))  # also if the first is NaN
            return jax.tree.map(lambda a, b: jnp.where(nearer, b, a), one, other)

        return jax.lax.cond(
            self.miss(one, scale).distance < NEAR, lambda: one, compared
        )

    def slopes(self, guess: Guess, miss: Miss, large: bool) -> Slopes:
        """How the weights follow the margins, linearized."""
        slopes, shares = self.flow.loss.weight_slopes(
            miss.margins.reshape(-1, self.flow.rivals)
        )
        decay = jnp.maximum(jnp.ravel(slopes), 1e-20)
        mean = guess.q
        if large:
            flat = jnp.abs(miss.residual) < 1e-6
            slope = _gap(mean, miss.residual) / jnp.where(flat, 1.0, miss.residual)
            mean = jnp.clip(jnp.where(flat, mean, slope), FLOOR, HUGE)
        return Slopes(mean, decay, shares)

    def newton(self, guess: Guess, miss: Miss, slopes: Slopes, scale: Scalar) -> Guess:
        """Newton's step."""
        guesses, misses = jax.tree.map(lambda a: a[None], (guess, miss))
        return jax.tree.map(
            lambda a: a[0], self.changes(guesses, misses, slopes, scale)
        )

    def changes(self, guesses: Guess, misses: Miss, slopes: Slopes, scale: Scalar):
        """Newton's step for each of some guesses, with the slopes of one."""
        ones = jnp.ones((1, self.shift.size))
        right = slopes.mean[None] * jnp.concatenate([misses.residual, ones])
        # Nothing resists those that are not seen: all of q would go there.
        right = jnp.where(self.seen[None], right, 0.0)
        ahead = guesses.motion - self.gram.motion(guesses.q)
        ahead = jnp.concatenate([ahead, jnp.zeros((1, ahead.shape[1]))])
        solved, moved = solve_newton(
            self.eta * scale, self.gram, self.lift, slopes.mean, slopes.decay,
            slopes.shares, lambda solve: solve(right.T, ahead.T),
        )  # fmt: skip
        *sums, per_multiplier = jnp.sum(solved, axis=0)
        excess = jnp.sum(guesses.q, axis=1) - 1 - jnp.stack(sums)
        multipliers = excess / per_multiplier

        def step(columns):
            *own, last = columns.T
            return -(jnp.stack(own) + multipliers[:, None] * last[None])

        return Guess(step(solved), step(moved))

    def length(self, change: Guess, slopes: Slopes, scale: Scalar) -> Scalar:
        """The square of a step's length in the metric of the equation, in nats."""
        own = jnp.sum(jnp.where(self.seen, change.q**2 / slopes.mean, 0.0))
        return own + self.eta * scale * self.gram.size(*change) ** 2

    def by_weight(self, guess: Guess, change: Guess, slopes: Slopes, scale: Scalar):
        """Each weight to where its own law takes the value that Newton predicts."""
        q, dq = guess.q, change.q
        stiffness = jnp.maximum(self.eta * scale * slopes.decay * self.diagonal, FLOOR)
        target = jnp.log(q) + dq / slopes.mean + stiffness * (q + dq)
        product = wright_omega(target + jnp.log(stiffness))
        new = jnp.where(product > 1, product / stiffness, jnp.exp(target - product))
        new = _admitted(jnp.where(self.seen, new, FLOOR))
        return self._moved(guess, change, 1.0, new)

    def step(
        self, guess: Guess, scale: Scalar, large: bool, guarded: Bool[Array, ""]
    ) -> tuple[Guess, Scalar]:
        """One iteration: the next guess, and how far the stage moves with it."""
        miss = self.miss(guess, scale)
        slopes = self.slopes(guess, miss, large)
        change = self.newton(guess, miss, slopes, scale)
        new = self.by_weight(guess, change, slopes, scale)
        if large:
            new = jax.lax.cond(
                guarded,
                lambda: self.nearer(guess, miss, change, slopes, new, scale),
                lambda: new,
            )
        return new, self.size_of(guess, new) + self.size(change)

    def nearer(self, guess: Guess, miss: Miss, change: Guess, slopes, new, scale):
        """Where the step by weight leads if that is nearer, else the best of shares."""
        before = jnp.maximum(miss.distance, self.length(change, slopes, scale))
        return jax.lax.cond(
            self.distance(new, scale) <= jnp.maximum(before / 2, 1e-20),
            lambda: new,
            lambda: self.best_share(guess, change, slopes, new, scale),
        )

    def best_share(
        self, guess: Guess, change: Guess, slopes: Slopes, other: Guess, scale: Scalar
    ) -> Guess:
        """The best of some shares of Newton's step, and of another."""

        def share_of_weights(share):
            new = jnp.maximum(guess.q + share * change.q, LEAST_LEFT * guess.q)
            return self._moved(guess, change, share, _admitted(new))

        def share_of_motion(share):
            return self.at_motion(guess.motion + share * change.motion, scale)

        def joined(*some):
            return jax.tree.map(lambda *parts: jnp.concatenate(parts), *some)

        one = jax.tree.map(lambda a: a[None], other)
        by_weights = joined(jax.vmap(share_of_weights)(SHARES), one)
        distances = jax.vmap(lambda guess: self.distance(guess, scale))(by_weights)
        if not self.gram.holds_motion:  # it is that of the weights, and tells nothing
            best = jnp.nanargmin(distances)
            return jax.tree.map(lambda some: some[best], by_weights)
        by_motion = jax.vmap(share_of_motion)(SHARES)
        misses = jax.vmap(lambda guess: self.miss(guess, scale))(by_motion)
        steps = self.changes(by_motion, misses, slopes, scale)
        further = jax.vmap(lambda step: self.length(step, slopes, scale))(steps)
        best = jnp.nanargmin(jnp.concatenate([distances, further]))
        return jax.tree.map(lambda some: some[best], joined(by_weights, by_motion))

    def _moved(self, guess: Guess, change: Guess, share, new) -> Guess:
        """New weights with their motion: what Newton's step has, and what differs."""
        beside = self.gram.motion(new - (guess.q + share * change.q))
        return Guess(new, guess.motion + share * change.motion + beside)

    def size_of(self, guess: Guess, new: Guess) -> Scalar:
        """How far the stage moves from one guess to another."""
        return self.size(Guess(new.q - guess.q, new.motion - guess.motion))

    def size(self, change: Guess) -> Scalar:
        """How far the stage moves with a change of its weights."""
        return self.eta * self.gram.size(change.q, change.motion)


def goal_of(
    flow: AbstractFlow, margins: Float[Array, " m"], seen: Bool[Array, " m"]
) -> Float[Array, " m"]:
    r"""$\log g$, normalized; next to nothing where a margin does not count."""
    goal = flow.log_weights(margins)
    most = jnp.max(jnp.where(seen, goal, -jnp.inf))
    goal = jnp.where(seen, goal, most - LOG_HUGE)
    return goal - log_sum_exp(goal)


def _admitted(new: Float[Array, " m"]) -> Float[Array, " m"]:
    return jnp.clip(new / jnp.sum(new), FLOOR, HUGE)


def _gap(q: Float[Array, " m"], residual: Float[Array, " m"]) -> Float[Array, " m"]:
    """How far weights are above those that the margins ask for."""
    return -q * jnp.expm1(-jnp.maximum(residual, -LOG_HUGE))


def wright_omega(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""The solution $p > 0$ of $p + \log p = x$, to rounding, for every real $x$."""
    low = jnp.exp(jnp.minimum(x, 1.0))
    guess = jnp.where(x > 1, x - jnp.log(jnp.maximum(x, 1.0)), low / (1 + 0.7 * low))

    def halley(_, p):
        u = (x - p - jnp.log(p)) / (1 + p)
        return jnp.maximum(p * (1 + u / (1 - u / (2 * (1 + p)))), 1e-300)

    return jax.lax.fori_loop(0, 3, halley, jnp.maximum(guess, 1e-300))
