"""Which gates are wrong on a step, since when, and what that misses."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .. import _log_time
from .._directions import kink_values
from .._frame import Frame
from .._sides import Gates, slid
from .._slides import ROUNDED, term_sizes, with_gates
from .._steps import FRACTIONS
from .._types import Scalar
from ._kept import may_be_kept
from ._missed import Solved, lack_of
from ._passages import any_passage, passages


class Found(NamedTuple):
    """The kinks on a step.

    Attributes:
        since: From which fraction on each gate is wrong, inf if it is not,
        until: and to which.
        share: Which share of the other gate is right then: less than one on a slide.
        before: On which side of zero each kink ends at the gates of the start.
        wrong: Whether its gate is wrong at the end.
        slides: Whether the flow slides along it from then on.
    """

    since: Float[Array, "samples kinks"]
    until: Float[Array, "samples kinks"]
    share: Float[Array, "samples kinks"]
    before: Float[Array, "samples kinks"]
    wrong: Bool[Array, "samples kinks"]
    slides: Bool[Array, "samples kinks"]


class Loop(NamedTuple):
    """A step that is solved again and again.

    Attributes:
        solved: The step.
        found: The kinks on it.
        known: What it knew that its gates lack.
        lack: What they lack.
        change: The difference, against the sizes of units.
        worth: Whether the step may be kept, so that it is worth another round.
        fresh: Whether gates found wrong let other kinks be passed, behind them.
        count: Of the rounds.
    """

    solved: Solved
    found: Found
    known: Float[Array, "9 weights"]
    lack: Float[Array, "9 weights"]
    change: Scalar
    worth: Bool[Array, ""]
    fresh: Bool[Array, ""]
    count: Int[Array, ""]


def sides_at(on, found: Found, fractions) -> Bool[Array, "times samples kinks"]:
    """The gates at fractions of a step."""
    fractions = fractions[:, None, None]
    wrong = (fractions >= found.since[None]) & (fractions < found.until[None])
    wrong = wrong & ((fractions < 1) | found.wrong[None])
    return on[None] ^ wrong


def right_sides(frame: Frame, found: Found, points) -> Float[Array, "5 samples kinks"]:
    """How far each kink is on the side of its gate, at the quarters."""
    field, on = frame.field, frame.field.gates.on
    sides = sides_at(on, found, _log_time.NODES)

    def at(given):
        return kink_values(with_gates(field, with_on(field.gates, given[0])), given[1])

    values = jax.lax.map(at, (sides, points))
    return jnp.where(slid(field.gates)[None], 1.0, jnp.where(on[None], values, -values))


def _in_terms(frame: Frame, found: Found, points, right):
    """The same in units of their terms: those of a unit that grows grow with it."""
    field = frame.field
    sides = sides_at(field.gates.on, found, _log_time.NODES)

    def at(given):
        return term_sizes(with_gates(field, with_on(field.gates, given[0])), given[1])

    terms = jax.lax.map(at, (sides, points))
    return right / jnp.where(terms > 0, terms, jnp.inf) + ROUNDED


def looked_at(frame: Frame, length, loop: Loop, points, right) -> Loop:
    """What is found on a step that has been solved, and what it lacks."""
    field, old, first = frame.field, loop.found, loop.count == 1
    right = _in_terms(frame, old, points, right)
    since, until = passages(right)
    # Kinks that both sides lead to are slid along: by the share that ends at u = 0.
    back = ~first & old.wrong & (right[-1] > 2 * ROUNDED) & field.euclidean
    slides = old.slides | back
    apart = old.before - right[-1]
    share = old.share * old.before / jnp.where(apart != 0, apart, 1.0)
    share = jnp.where(slides & (apart != 0), jnp.clip(share, 0.0, 1.0), old.share)
    wrong = jnp.where(slides, old.wrong, right[-1] < 0)
    # At first: later the quartic through the quarters no longer follows the kinks.
    known = jnp.isfinite(old.since)
    since = jnp.where(first | wrong, since, jnp.inf)
    new = Found(
        since=jnp.where(known, old.since, since),
        until=jnp.where(wrong, jnp.inf, jnp.where(known, old.until, until)),
        share=share,
        before=jnp.where(first, right[-1], old.before),
        wrong=wrong,
        slides=slides,
    )
    fractions = FRACTIONS[:, None, None]
    spent = jnp.clip(fractions, new.since[None], new.until[None])
    spent = jnp.diff(jnp.where(jnp.isfinite(new.since)[None], spent, 0.0), axis=0)
    lack = lack_of(frame, length, loop.solved, spent * share[None])
    moved = frame.weight[None] * (lack - loop.known)
    change = jnp.max(jnp.sqrt(jnp.sum(moved**2, axis=1)))
    worth, fresh = may_be_kept(frame, lack), jnp.asarray(False)
    if not field.straight:
        # A kink behind others is passed where these turn, though they move nothing.
        behind = right_sides(frame, new, points)
        known = jnp.isfinite(new.since) | slides
        behind = _in_terms(frame, new, points, behind)
        fresh = any_passage(jnp.where(known[None], 1.0, behind))
    return loop._replace(found=new, lack=lack, change=change, worth=worth, fresh=fresh)


def with_on(gates: Gates, on) -> Gates:
    """The same gates, but for which of them are on."""
    return eqx.tree_at(lambda g: g.on, gates, on)
