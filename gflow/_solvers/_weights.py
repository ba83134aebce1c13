r"""Newton's method for dual weights whose margins are linear in them, $K$ positive."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._flow import AbstractFlow
from .._logs import log_sum_exp
from .._types import Scalar
from ._gram import AbstractPositive
from ._newton import solve_newton


MAX_ITERATIONS = 50
FLOOR, HUGE = 1e-280, 1e280
"""The least and greatest weights that are kept: logarithms must stay finite."""

LOG_HUGE = 600.0

CROWD = 128
"""With more weights than this, the guards against overshooting together are worth the
time that they take to compile and run."""

SHARES = np.asarray([1.0, 0.5, 0.25, 0.1, 0.03])
"""Of Newton's step, among which the best is taken where the step by weight fails."""

LEAST_LEFT = 0.1
"""What any of them leaves of each weight."""

BOLD, NEAR, SHARPEN = 10, 1.0, 6.0
"""If so many iterations have not come this near the solution, begin again at a scale at
which margins are of order one, and sharpen them by this factor whenever that near."""


def solve_weights(
    flow: AbstractFlow,
    weights: Float[Array, " m"],
    shift: Float[Array, " m"],
    gram: AbstractPositive,
    scale: Scalar,
    seen: Bool[Array, " m"],
    eta: Scalar,
    tolerance: Scalar,
    motion: Float[Array, " r"],
) -> tuple[Float[Array, " m"], Float[Array, " r"], Scalar]:
    r"""Newton's method on $r = \log q + c - \log g(R(b + \eta K q)) = 0$.

    Some things make it safe at any scale. Adding a constant to $K$ changes only the
    multiplier $c$, since $\sum \mathrm dq = 0$: it lifts the direction $q$, which $K$
    loses as the flow converges, and a Cholesky factor serves. Each weight moves not by
    its Newton step but to where $\log q_i + A_i q_i$ takes its predicted value ($A_i =
    \eta R s_i K_{ii}$): an exponential law where the weight is small, a linear one
    where it is large, both solved by the Wright omega function. And the error is
    measured in the motion of the stage, $\eta (\mathrm dq^\top K \mathrm dq)^{1/2}$, so
    that weights which degenerate constraints leave undetermined do not count.

    The motion $u$ of the weights is an unknown beside them ($K = V V^\top$, $u = V^\top
    q$; see `AbstractPositive`): where $\eta R K$ is beyond $10^{15}$ the weights have
    not the digits to balance, and their motion has. It may be the better guess too, and
    shares of its Newton step the better ones, with the weights that the margins there
    ask for; steps are then compared by their length in the metric of the equation.

    Many weights may still overshoot together. With a crowd of them the slope of the
    logarithm is taken between $q$ and its goal $p = q e^{-r}$: their logarithmic mean
    stands where Newton's method has $q$. If Jeffreys' distance $\sum (q - p)(\log q -
    \log p)$ does not halve, several shares of the Newton step are tried, and the best
    of all is taken. And if that does not come near, the iteration begins again with
    blunt margins, which it sharpens.

    Args:
        flow: Gives $\log g$ and its slopes.
        weights: The guess.
        shift: The vector $b$.
        gram: The matrix $K$, positive semi-definite.
        scale: The scale $R$ of the margins.
        seen: The margins that count.
        eta: The length of the stage.
        tolerance: The error at which to stop.
        motion: Another guess: the motion of weights where the stage is expected to end.

    Returns:
        The weights, their motion, and how far the last iteration moved the stage.
    """
    equation = Equation.of(flow, weights, shift, gram, seen, eta)
    crowded = weights.shape[0] > CROWD
    q = jnp.where(seen, jnp.maximum(weights, FLOOR), FLOOR)
    start = first = Guess(q, gram.motion(q))
    mild = equation.mild(scale)
    if crowded and gram.holds_motion:
        start = equation.better(first, equation.at_motion(motion, scale), scale)

    def step(carry):
        guess, sharp, near, count, _ = carry
        if crowded:
            again = (count == BOLD) & ~near
            guess = jax.tree.map(lambda a, b: jnp.where(again, a, b), first, guess)
            sharp = jnp.where(again, mild, sharp)
        miss = equation.miss(guess, sharp)
        slopes = equation.slopes(guess, miss, crowded)
        change = equation.newton(guess, miss, slopes, sharp)
        new = equation.by_weight(guess, change, slopes, sharp)
        error = equation.size_of(guess, new) + equation.size(change)
        if crowded:
            found = equation.distance(new, sharp)
            before = miss.distance
            if gram.holds_motion:
                before = jnp.maximum(before, equation.length(change, slopes, sharp))
            new, found = jax.lax.cond(
                found <= jnp.maximum(before / 2, 1e-20),
                lambda: (new, found),
                lambda: equation.best_share(guess, change, slopes, new, sharp),
            )
            error = equation.size_of(guess, new) + equation.size(change)
            error = jnp.where(sharp == scale, error, jnp.inf)
            near = found < NEAR
            sharp = jnp.where(near, jnp.minimum(SHARPEN * sharp, scale), sharp)
        return new, sharp, near, count + 1, error

    def unfinished(carry) -> Bool[Array, ""]:
        *_, count, error = carry
        return (count < MAX_ITERATIONS) & ~(error <= tolerance)

    none, no, far = jnp.asarray(0), jnp.asarray(False), jnp.asarray(jnp.inf)
    found, *_, error = jax.lax.while_loop(
        unfinished, step, (start, scale, no, none, far)
    )
    return found.q, found.motion, error


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

    def mild(self, scale: Scalar) -> Scalar:
        """A scale at which margins are of order one, in the units of the data."""
        spread = jnp.max(jnp.where(self.seen, jnp.abs(self.shift), 0.0))
        spread = spread + self.eta * jnp.max(self.diagonal)
        return jnp.minimum(scale, 1 / jnp.maximum(spread, 1e-290))

    def miss(self, guess: Guess, scale: Scalar) -> Miss:
        """What a guess misses."""
        margins = scale * (self.shift + self.eta * self.gram.image(guess.motion))
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
        margins = scale * (self.shift + self.eta * self.gram.image(motion))
        q = jnp.exp(goal_of(self.flow, margins, self.seen))
        return Guess(jnp.maximum(q, FLOOR), motion)

    def better(self, one: Guess, other: Guess, scale: Scalar) -> Guess:
        """The one of two guesses that is nearer, by the length of Newton's step."""

        def length(guess):
            miss = self.miss(guess, scale)
            slopes = self.slopes(guess, miss, False)
            return self.length(self.newton(guess, miss, slopes, scale), slopes, scale)

        def compared():
            nearer = length(other) < length(one)
            return jax.tree.map(lambda a, b: jnp.where(nearer, b, a), one, other)

        return jax.lax.cond(
            self.miss(one, scale).distance < NEAR, lambda: one, compared
        )

    def slopes(self, guess: Guess, miss: Miss, crowded: bool) -> Slopes:
        """How the weights follow the margins, linearized."""
        slopes, shares = self.flow.loss.weight_slopes(
            miss.margins.reshape(-1, self.flow.rivals)
        )
        decay = jnp.maximum(jnp.ravel(slopes), 1e-20)
        mean = guess.q
        if crowded:
            flat = jnp.abs(miss.residual) < 1e-6
            slope = _gap(mean, miss.residual) / jnp.where(flat, 1.0, miss.residual)
            mean = jnp.clip(jnp.where(flat, mean, slope), FLOOR, HUGE)
        return Slopes(mean, decay, shares)

    def newton(self, guess: Guess, miss: Miss, slopes: Slopes, scale: Scalar) -> Guess:
        """Newton's step."""
        one = jax.tree.map(lambda a: a[None], (guess, miss))
        return jax.tree.map(lambda a: a[0], self.changes(*one, slopes, scale))

    def changes(self, guesses: Guess, misses: Miss, slopes: Slopes, scale: Scalar):
        """Newton's step for each of some guesses, with the slopes of one."""
        ones = jnp.ones((1, self.shift.size))
        right = slopes.mean[None] * jnp.concatenate([misses.residual, ones])
        # Nothing resists those that are not seen: all of q would go there.
        right = jnp.where(self.seen[None], right, 0.0)
        ahead = guesses.motion - self.gram.motion(guesses.q)
        ahead = jnp.concatenate([ahead, jnp.zeros((1, ahead.shape[1]))])
        solved, moved = solve_newton(
            self.eta * scale, self.gram, self.lift, *slopes, right.T, ahead.T
        )
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

    def best_share(
        self, guess: Guess, change: Guess, slopes: Slopes, other: Guess, scale: Scalar
    ):
        """The best of some shares of Newton's step and of another, and its distance."""

        def share_of_weights(share):
            new = jnp.maximum(guess.q + share * change.q, LEAST_LEFT * guess.q)
            return self._moved(guess, change, share, _admitted(new))

        def share_of_motion(share):
            return self.at_motion(guess.motion + share * change.motion, scale)

        guesses = jax.tree.map(
            lambda some, one: jnp.concatenate([some, one[None]]),
            jax.vmap(share_of_weights)(SHARES),
            other,
        )
        distances = jax.vmap(lambda guess: self.distance(guess, scale))(guesses)
        if self.gram.holds_motion:
            more = jax.vmap(share_of_motion)(SHARES)
            misses = jax.vmap(lambda guess: self.miss(guess, scale))(more)
            steps = self.changes(more, misses, slopes, scale)
            further = jax.vmap(lambda step: self.length(step, slopes, scale))(steps)
            guesses, distances = jax.tree.map(
                lambda a, b: jnp.concatenate([a, b]),
                (guesses, distances),
                (more, further),
            )
        best = jnp.nanargmin(distances)
        return jax.tree.map(lambda some: some[best], guesses), distances[best]

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
