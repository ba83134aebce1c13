r"""Newton's method for dual weights whose margins are linear in them, $K$ positive.

Some things make Newton's method on $r = \log q + c - \log g(R(b + \eta K q)) = 0$
safe at any scale. Adding a constant to $K$ changes only the multiplier $c$, since
$\sum \mathrm dq = 0$: it lifts the direction $q$, which $K$
loses as the flow converges, and a Cholesky factor serves. The logarithms are
linearized at margins $\zeta$ with $\log g(\zeta) = \log q + c$, not at those that the
weights lead to: where a poor guess throws a logistic sample to $z = -33$, the slope
there is $10^{-15}$, and says nothing of how its weight resists. Each weight moves not
by its Newton step but by its own law, to where its margin asks for it if the others
pull as Newton's step has it (see `_own_law`). And the error is measured in the motion
of the stage, $\eta (\mathrm dq^\top K \mathrm dq)^{1/2}$, so that weights which
degenerate constraints leave undetermined do not count.

The motion $u$ of the weights is an unknown beside them ($K = V V^\top$, $u = V^\top
q$; see `AbstractPositive`): where $\eta R K$ is beyond $10^{15}$ the weights have
not the digits to balance, and their motion has. It may be the better guess too, and
shares of its Newton step the better ones, with the weights that the margins there
ask for; steps are then compared by their length in the metric of the equation.

Many weights may still overshoot together. In a large problem the slope of the
logarithm is taken between $q$ and its goal $p = q e^{-r}$: their logarithmic mean
stands where Newton's method has $q$. If that does not come near, an interior-point
method leads there (see `_interior`), and few weights begin anew. The last round is a
careful one, since bold steps find their way more often than they lose it: it takes the
largest share of Newton's step that lowers the convex function whose least value is
sought. Where the motion is an unknown of its own, care is always taken, of several
shares the best where Jeffreys' distance $\sum (q - p)(\log q - \log p)$ does not halve.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._flow import AbstractFlow
from .._types import Scalar
from ._careful import step as newton_step
from ._equation import NEAR, Equation
from ._interior import central_path
from ._iterates import Guess, Iterate
from ._own_law import FLOOR
from ._positive import AbstractPositive


MAX_ITERATIONS = 50

LARGE = 128
"""With more weights than this, the guards against overshooting together are worth the
time that they take to compile and run."""

BOLD = 15
"""If so many iterations have not come near the solution, they begin again at the end of
the central path."""

LOOK, NEARER = 4, 0.1
"""So they do, where the motion is an unknown, once so many have not left this share of
the distance: those that find their way take two or three."""


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
    large = weights.shape[0] > LARGE
    q = jnp.where(seen, jnp.maximum(weights, FLOOR), FLOOR)
    start = equation.begun(Guess(q, gram.motion(q)), scale)
    far = jnp.asarray(jnp.inf)
    rounds = 3 if large and not gram.holds_motion else 2

    def iterate(given, most, guarded, watched):
        rules = Rules(large, guarded, watched, most, tolerance)
        return _iterated(equation, given, scale, rules)

    def attempt(carry):
        given, number, _ = carry
        again = number > 0
        astray = again & ~(equation.distance(given.guess, scale) < NEAR)
        path = central_path(equation, scale, astray)
        best = _where(astray, equation.begun(path, scale), given)
        if gram.holds_motion:
            other = jnp.where(astray, path.motion, motion)
            other = equation.at_motion(other, scale)
            other = equation.better(best, other, scale)
            best = _where(again & ~astray, best, other)
        most = jnp.where(number == rounds - 1, MAX_ITERATIONS, BOLD)
        guarded = (number > 1) | gram.holds_motion
        watched = (number == 0) & gram.holds_motion
        found, error = iterate(best, most, guarded, watched)
        return found, number + 1, error

    def unfinished(carry):
        return (carry[1] < rounds) & ~(carry[2] <= tolerance)

    def few(carry):
        _, number, _ = carry
        found, error = iterate(start, MAX_ITERATIONS, number > 0, False)
        return found, number + 1, error

    found, _, error = jax.lax.while_loop(
        unfinished, attempt if large else few, (start, jnp.asarray(0), far)
    )
    return found.guess.q, found.guess.motion, error


class Rules(NamedTuple):
    """How weights are sought.

    Attributes:
        large: Whether they are many.
        guarded: Whether steps are careful.
        watched: Whether to stop where they come no nearer.
        most: How many iterations they may take.
        tolerance: The error at which to stop.
    """

    large: bool
    guarded: Bool[Array, ""]
    watched: Bool[Array, ""] | bool
    most: Int[Array, ""] | int
    tolerance: Scalar


def _iterated(
    equation: Equation, given: Iterate, scale: Scalar, rules: Rules
) -> tuple[Iterate, Scalar]:
    """Where Newton's steps lead, and how far the last one moves the stage."""
    looks = rules.large and equation.gram.holds_motion

    def step(carry):
        given, count, _, mark = carry
        new, error = newton_step(equation, given, scale, rules.large, rules.guarded)
        if looks:
            look = rules.watched & ((count + 1) % LOOK == 0)
            mark = jax.lax.cond(look, lambda: left(new, mark), lambda: mark)
        return new, count + 1, error, mark

    def left(new, mark):
        """The distance; NaN if that is neither small nor less than before."""
        distance = equation.distance(new.guess, scale)
        nearer = distance <= jnp.maximum(NEARER * mark, NEAR)
        return jnp.where(nearer, distance, jnp.nan)

    def unfinished(carry) -> Bool[Array, ""]:
        _, count, error, mark = carry
        going = (count < rules.most) & ~jnp.isnan(mark)
        return going & (error > rules.tolerance)  # not if it is NaN

    far = jnp.asarray(jnp.inf)
    mark = equation.distance(given.guess, scale) if looks else far
    start = given, jnp.asarray(0), far, mark
    found, _, error, _ = jax.lax.while_loop(unfinished, step, start)
    return found, error


def _where(condition: Bool[Array, ""], one: Iterate, other: Iterate) -> Iterate:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
