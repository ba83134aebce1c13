r"""A guess of dual weights that needs none: an interior-point method.

As the softmin of an exponential law sharpens, the weights of a stage tend to the
solution of $\min_q \tfrac12 \eta\, q^\top K q + \langle b, q\rangle$ on the
simplex. Its central path, $q_i s_i = \mu$ with $s$ the heights of the margins above
their least, leads there from the middle of the simplex in some dozen steps. Newton's
method for the weights themselves may not: from a poor guess it loses its way, the
farther the sharper they are.

References:
    Mehrotra (1992), "On the implementation of a primal-dual interior point method".
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._types import Scalar
from ._equation import Equation
from ._iterates import Guess
from ._newton import solve_newton
from ._own_law import FLOOR


SHARP, EPSILON = 1e-3, 1e-16
"""The path is followed to the first over the scale, or to the rounding of margins."""

MOST, VAIN = 60, 6
"""Steps along the path at most, and without gain; it takes 10 to 20, and 50 where
features differ by 1e4 and weights have to balance to 17 digits."""

INSIDE = 0.99
"""The share of the way to the boundary that is gone."""


class _Path(NamedTuple):
    """A point on the way along the path.

    Attributes:
        guess: $q$ and its motion.
        heights: $s$.
        missed: By how much the margins are higher, up to a constant.
        left: The mean of $q_i s_i$, or what is missed, shared out, if that is more.
        end: Where it ends.
        count: How many steps led here.
    """

    guess: Guess
    heights: Float[Array, " m"]
    missed: Float[Array, " m"]
    left: Scalar
    end: Scalar
    count: Int[Array, ""]


def central_path(equation: Equation, scale: Scalar, needed: Bool[Array, ""]) -> Guess:
    """Weights near the solution at a scale, from the middle of the simplex.

    Args:
        equation: What they solve.
        scale: How sharply.
        needed: Where it is false no step is taken, and the result is the middle.
    """
    seen, end = equation.seen, SHARP / scale
    middle = jnp.where(seen, 1 / jnp.sum(seen), 0.0)
    guess = Guess(middle, equation.gram.motion(middle))
    margins = equation.margins(guess.motion)
    heights = margins - jnp.min(jnp.where(seen, margins, jnp.inf))
    widest = jnp.max(jnp.where(seen, heights, 0.0))
    heights = jnp.maximum(heights, 0.1 * widest + end)

    def step(carry):
        path, best = carry
        guess, heights = _step(equation, path)
        new = _at(equation, guess, heights, end, path.count + 1)
        better = new.left < best.left
        return new, jax.tree.map(lambda a, b: jnp.where(better, a, b), new, best)

    def unfinished(carry):
        path, best = carry
        going = (path.count < MOST) & (path.count - best.count < VAIN)
        return needed & going & (path.left > path.end)  # not if it is NaN

    start = _at(equation, guess, heights, end, jnp.asarray(0))
    _, best = jax.lax.while_loop(unfinished, step, (start, start))
    return Guess(jnp.maximum(best.guess.q, FLOOR), best.guess.motion)


def _at(equation: Equation, guess: Guess, heights, end, count) -> _Path:
    seen, margins = equation.seen, equation.margins(guess.motion)
    number, q = jnp.sum(seen), jnp.where(seen, guess.q, 0.0)
    missed = margins - heights - jnp.sum(q * (margins - heights))
    most = jnp.max(jnp.where(seen, jnp.abs(missed), 0.0))
    left = jnp.maximum(jnp.sum(q * heights), most) / number
    end = jnp.maximum(end, EPSILON * equation.spread(guess))
    return _Path(guess, heights, missed, left, end, count)


def _step(equation: Equation, path: _Path) -> tuple[Guess, Float[Array, " m"]]:
    """Mehrotra's predictor and corrector."""
    (q, motion), heights, missed = path.guess, path.heights, path.missed
    seen, gram = equation.seen, equation.gram
    number, product = jnp.sum(seen), jnp.where(seen, q * heights, 0.0)
    ratio = jnp.where(seen, q / heights, FLOOR)
    ahead = gram.motion(q) - motion  # of what the step is to move
    ahead = jnp.stack([ahead, jnp.zeros_like(ahead)], axis=1)

    def change(solve, target):
        """To where the products change by `target`, to first order."""
        right = jnp.where(seen, target / heights - ratio * missed, 0.0)
        unit = jnp.where(seen, ratio, 0.0)
        found, moved = solve(jnp.stack([right, unit], axis=1), ahead)
        sums = jnp.sum(found, axis=0)
        both = jnp.stack([jnp.ones(()), (1 - jnp.sum(q) - sums[0]) / sums[1]])
        new = Guess(found @ both, moved @ both)
        rise = (target - heights * new.q) / jnp.where(seen, q, 1.0)
        return new, jnp.where(seen, rise, 0.0)

    def admitted(new, rise):
        """The share of a step that stays inside, at most one."""
        ways = jnp.stack([-new.q / q, -rise / heights])
        most = jnp.max(jnp.where(seen, ways, 0.0))
        return jnp.minimum(INSIDE / jnp.maximum(most, 1e-300), 1.0)

    def use(solve):
        new, rise = change(solve, -product)
        share = admitted(new, rise)
        before = jnp.sum(product) / number
        after = jnp.sum((q + share * new.q) * (heights + share * rise)) / number
        aim = jnp.maximum((after / before) ** 3 * before, 0.9 * path.end)
        return change(solve, jnp.where(seen, aim - product - new.q * rise, 0.0))

    new, rise = solve_newton(
        equation.eta, gram, equation.lift, ratio, jnp.ones_like(q), None, use
    )
    share = admitted(new, rise)
    guess = Guess(q + share * new.q, motion + share * new.motion)
    return guess, heights + share * rise
