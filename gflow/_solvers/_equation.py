r"""The equation of the dual weights of a stage, and its Newton steps.

Its unknowns are the weights and their motion: see `_weights`, which solves it.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._flow import AbstractFlow
from .._logs import log_sum_exp
from .._types import Scalar
from ._iterates import Change, Guess, Iterate, Miss, Slopes
from ._newton import solve_newton
from ._own_law import FLOOR, HUGE, LOG_HUGE, linear_law, own_weights, slopes_of
from ._positive import AbstractPositive


NEAR = 1.0
"""The distance, in nats, of a guess that is near."""

NEAR_MARGIN = 0.3
"""Where weights lead to margins so near to those that they ask for, these serve."""

WILD = 50.0
"""A total of weights that is so many nats from one is no guess of them."""


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

    def begun(self, guess: Guess, scale: Scalar) -> Iterate:
        """A guess, linearized where it leads."""
        margins = scale * self.margins(guess.motion)
        return Iterate(guess, margins, log_sum_exp(self._pulls(margins)))

    def miss(
        self, iterate: Iterate, scale: Scalar, plain: bool | Bool[Array, ""] = False
    ) -> Miss:
        """What an iterate misses, linearized where it leads if that is `plain`."""
        (q, motion), linearized, log_total = iterate
        margins = scale * self.margins(motion)
        beyond, distance = self._beyond(q, margins)
        linearized = jnp.where(plain, margins, self._far(linearized, margins))
        slopes, shares = slopes_of(self.flow, linearized, self.seen)
        ahead = (margins - linearized).reshape(slopes.shape)
        lower = slopes * ahead
        if shares is not None:
            lower = ahead - jnp.sum(shares * ahead, axis=1, keepdims=True)
        pulls = self.flow.log_weights(linearized) - jnp.ravel(lower)
        residual = jnp.where(self.seen, jnp.log(q) + log_total - pulls, 0.0)
        return Miss(residual, beyond, distance, margins, linearized)

    def _far(self, linearized, margins):
        """Where each sample is linearized, or is led to if that is near."""
        rows, ends = (
            a.reshape(-1, self.flow.per_sample) for a in (linearized, margins)
        )
        far = jnp.any(jnp.abs(ends - rows) > NEAR_MARGIN, axis=1, keepdims=True)
        return jnp.ravel(jnp.where(far, rows, ends))

    def _pulls(self, margins):
        return _pulls(self.flow, margins, self.seen)

    def _beyond(self, q, margins):
        """How much more weights are than margins ask for, and how far that is."""
        beyond = jnp.log(q) - goal_of(self.flow, margins, self.seen)
        return beyond, jnp.sum(_gap(q, beyond) * beyond)

    def goal_beyond(self, q, residual):
        """How much more weights are than the linearized equation asks for."""
        goal = jnp.where(self.seen, jnp.log(q) - residual, -jnp.inf)
        return jnp.where(self.seen, residual + log_sum_exp(goal), 0.0)

    def distance(self, guess: Guess, scale: Scalar) -> Scalar:
        """How far a guess is from the solution at most, in nats."""
        _, distance = self._beyond(guess.q, scale * self.margins(guess.motion))
        if not self.gram.holds_motion:
            return distance
        ahead = guess.motion - self.gram.motion(guess.q)
        return distance + self.eta * scale * jnp.sum(ahead**2)

    def at_motion(self, motion: Float[Array, " r"], scale: Scalar) -> Iterate:
        """A motion, with the weights that the margins there ask for."""
        margins = scale * self.margins(motion)
        pulls = self._pulls(margins)
        total = log_sum_exp(pulls)
        q = jnp.maximum(jnp.exp(pulls - total), FLOOR)
        return Iterate(Guess(q, motion), margins, total)

    def better(self, one: Iterate, other: Iterate, scale: Scalar) -> Iterate:
        """The one of two iterates that is nearer, by the length of Newton's step."""

        def length(iterate):
            miss = self.miss(iterate, scale)
            slopes = self.slopes(iterate, miss, False)
            change = self.newton(iterate, miss, slopes, scale)
            return self.length(change, slopes, scale)

        def compared():
            nearer = ~(length(one) <= length(other))  # also if the first is NaN
            return jax.tree.map(lambda a, b: jnp.where(nearer, b, a), one, other)

        return jax.lax.cond(
            self._beyond(one.guess.q, scale * self.margins(one.guess.motion))[1] < NEAR,
            lambda: one,
            compared,
        )

    def slopes(
        self, iterate: Iterate, miss: Miss, between: bool | Bool[Array, ""]
    ) -> Slopes:
        """How the weights follow the margins, linearized: there, or between both."""
        slopes, shares = slopes_of(self.flow, miss.linearized, self.seen)
        decay = jnp.maximum(jnp.ravel(slopes), 1e-20)
        q, beyond = iterate.guess.q, miss.beyond
        flat = jnp.abs(beyond) < 1e-6
        slope = _gap(q, beyond) / jnp.where(flat, 1.0, beyond)
        mean = jnp.clip(jnp.where(flat, q, slope), FLOOR, HUGE)
        mean = jnp.where(between, mean, q)
        return Slopes(mean, decay, shares)

    def newton(self, iterate: Iterate, miss: Miss, slopes: Slopes, scale) -> Change:
        """Newton's step."""
        guesses = jax.tree.map(lambda a: a[None], iterate.guess)
        changes = self.changes(guesses, miss.residual[None], slopes, scale)
        return jax.tree.map(lambda a: a[0], changes)

    def changes(self, guesses: Guess, residuals, slopes: Slopes, scale) -> Change:
        """Newton's step for each of some guesses, with the slopes of one."""
        ones = jnp.ones((1, self.shift.size))
        right = slopes.mean[None] * jnp.concatenate([residuals, ones])
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

        return Change(Guess(step(solved), step(moved)), multipliers)

    def length(self, change: Change, slopes: Slopes, scale: Scalar) -> Scalar:
        """The square of a step's length in the metric of the equation, in nats."""
        q, motion = change.guess
        own = jnp.sum(jnp.where(self.seen, q**2 / slopes.mean, 0.0))
        return own + self.eta * scale * self.gram.size(q, motion) ** 2

    def by_weight(self, iterate: Iterate, miss: Miss, change: Change, slopes, scale):
        """Each weight to where its own law leads, from where Newton's step does."""
        q, (dq, ahead) = iterate.guess.q, change.guess
        own = self.eta * scale * self.diagonal
        log_total = iterate.log_total + change.log_total
        expected = q + dq, miss.margins + self.eta * scale * self.gram.image(ahead)
        start = linear_law(q, dq, slopes.mean, slopes.decay * own)
        new, margins = own_weights(
            self.flow, log_total, start, expected, own, self.seen
        )
        more = jnp.log(jnp.sum(new))
        # A total so far off is no linear guess any more, and all weights are with it.
        tame = jnp.abs(more) < WILD
        new = jnp.where(tame, new, jnp.where(self.seen, start, FLOOR))
        guess = self.moved(iterate.guess, change.guess, 1.0, admitted(new))
        return jax.lax.cond(
            tame,
            lambda: Iterate(guess, margins, log_total + more),
            lambda: self.begun(guess, scale),
        )

    def moved(self, guess: Guess, change: Guess, share, new) -> Guess:
        """New weights with their motion: what Newton's step has, and what differs."""
        if not self.gram.holds_motion:
            return Guess(new, self.gram.motion(new))
        beside = self.gram.motion(new - (guess.q + share * change.q))
        return Guess(new, guess.motion + share * change.motion + beside)

    def size(self, change: Guess) -> Scalar:
        """How far the stage moves with a change of its weights."""
        return self.eta * self.gram.size(*change)


def goal_of(
    flow: AbstractFlow, margins: Float[Array, " m"], seen: Bool[Array, " m"]
) -> Float[Array, " m"]:
    r"""$\log g$, normalized; next to nothing where a margin does not count."""
    goal = _pulls(flow, margins, seen)
    return goal - log_sum_exp(goal)


def _pulls(flow: AbstractFlow, margins: Float[Array, " m"], seen: Bool[Array, " m"]):
    r"""$\log g$; next to nothing where a margin does not count."""
    pulls = flow.log_weights(margins)
    most = jnp.max(jnp.where(seen, pulls, -jnp.inf))
    return jnp.where(seen, pulls, most - LOG_HUGE)


def admitted(new: Float[Array, " m"]) -> Float[Array, " m"]:
    """Positive weights whose sum is one."""
    return jnp.clip(new / jnp.sum(new), FLOOR, HUGE)


def _gap(q: Float[Array, " m"], residual: Float[Array, " m"]) -> Float[Array, " m"]:
    """How far weights are above those that the margins ask for."""
    return -q * jnp.expm1(-jnp.maximum(residual, -LOG_HUGE))
