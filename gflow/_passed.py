r"""Kinks that a step passes: since when, and what it misses there.

A step runs at frozen gates. A gate that is wrong at its end is wrong since the time at
which the function $u$ of its kink crossed zero. What the right gate would have done
since then, $d$, is added, and the step is solved once more for $y = x - d$, $y' = F(x)$
(see `_frame.Lack`). By how much $d$ changes then is an error; if that is too much the
step is repeated, only as long as it may be. So kinks that hardly matter by themselves,
as in a wide network, cost no steps.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from . import _log_time
from ._carry import strong
from ._field import two_norm
from ._frame import Frame, Lack
from ._passages import any_passage, passages, through_quarters
from ._settled import marked, settled
from ._sides import Gates
from ._slides import (
    ROUNDED,
    full_dual,
    kink_values,
    multipliers,
    slid,
    term_sizes,
    with_gates,
    wrong_gates,
)
from ._steps import FRACTIONS, QUARTERS
from ._types import Scalar


ROUNDS = 4
"""How often a step is solved at most."""

MISSED = 0.3
"""What a step may miss for want of the right gates, in units of the tolerance."""

INSIDE = 3.0
"""And what it may miss between its ends, where a quartic does not follow kinks."""

RAMP = 0.15
"""What a quartic misses of a bend near the end of a step, at its sixths, at most."""

SHARP = 3.0
"""And where gates cannot be decided within the loop: to first order, then."""

EARLY = 1e-6
"""A kink that is passed before this share of a step is passed at its start."""

SHORT = 0.1
"""If not even so much of such a step is right, gates are decided at its start."""

CUT = 0.9
"""Of the step that is just short enough."""

LAST = 1 - 1e-9
"""A step that is cut is no longer than this share of it."""

_MIDDLES = (FRACTIONS[1:] + FRACTIONS[:-1]) / 2
_AT_MIDDLES = through_quarters(_MIDDLES)
_AT_FRACTIONS = through_quarters(FRACTIONS)


class Solved(NamedTuple):
    """A step as its solver leaves it.

    Attributes:
        coordinates: At the `FRACTIONS`.
        duals: The dual weights at its quarters.
        error: Of the coordinates at its end.
        state: Of the solver.
        outcome: Whether it has converged.
        gradients: What it took.
    """

    coordinates: Float[Array, "9 weights"]
    duals: Float[Array, "4 margins"]
    error: Float[Array, " weights"]
    state: PyTree
    outcome: PyTree
    gradients: Scalar


class Passed(NamedTuple):
    """What comes of the kinks on a step.

    Attributes:
        some: Whether any gate is wrong on it, or a multiplier at its end.
        share: The share of the step that can be kept: all, or less than one.
        stuck: Whether gates must be decided at its start.
        asked: The kinks whose gates must be decided, there or at the end.
        coordinates: Of the step at the `FRACTIONS`, made good.
        duals: The dual weights at its quarters.
        on: The gates at the `FRACTIONS`.
        gates: Those to go on with.
    """

    some: Bool[Array, ""]
    share: Scalar
    stuck: Bool[Array, ""]
    asked: Bool[Array, "samples kinks"]
    coordinates: Float[Array, "9 weights"]
    duals: Float[Array, "4 margins"]
    on: Bool[Array, "9 samples kinks"]
    gates: Gates


class _Found(NamedTuple):
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


class _Loop(NamedTuple):
    """A step that is solved again and again.

    Attributes:
        solved: The step.
        found: The kinks on it.
        known: What it knew that its gates lack.
        lack: What they lack.
        change: The difference, against the sizes of units.
        worth: Whether the step may be kept, so that it is worth another round.
        count: Of the rounds.
    """

    solved: Solved
    found: _Found
    known: Float[Array, "9 weights"]
    lack: Float[Array, "9 weights"]
    change: Scalar
    worth: Bool[Array, ""]
    count: Int[Array, ""]


class _Leaving(NamedTuple):
    """The kinks that a flow should have left before the end of a step.

    Attributes:
        left: Of the kinks slid along, whether it should.
        above: Whether with its gate on.
        since: From which fraction of the step on.
        missed: What is missed, against the sizes of units.
    """

    left: Bool[Array, " most"]
    above: Bool[Array, " most"]
    since: Float[Array, " most"]
    missed: Scalar


def pass_kinks(
    frame: Frame, length: Scalar, solve: Callable[[Frame], Solved]
) -> tuple[Solved, Passed]:
    """A step, and the kinks that it passes made good.

    Args:
        frame: Of the step.
        length: Of it.
        solve: The step of a frame, which knows what its gates lack.
    """
    field, gates = frame.field, frame.field.gates
    no, none = jnp.zeros(gates.on.shape, bool), jnp.zeros(gates.on.shape)
    never = jnp.full(gates.on.shape, jnp.inf)
    found = _Found(never, never, none + 1, none, no, no)
    zero = jnp.zeros((FRACTIONS.size, frame.start.size))
    like = jax.eval_shape(lambda: solve(_lacking(frame, length, zero)))
    blank = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)

    def unfinished(loop):
        more = loop.worth & (loop.change > MISSED * frame.rtol)
        return (loop.count == 0) | (more & (loop.count < ROUNDS))

    def again(loop):
        solved = solve(_lacking(frame, length, loop.lack))
        spent = loop.solved.gradients + solved.gradients
        looked = loop._replace(
            solved=solved._replace(gradients=spent),
            known=loop.lack,
            change=jnp.zeros(()),
            count=loop.count + 1,
        )
        nodes = solved.coordinates[QUARTERS]
        points = jax.vmap(frame.point)(length * _log_time.NODES, nodes)
        right = _right(frame, loop.found, points)
        some = (loop.count > 0) | any_passage(right)
        return jax.lax.cond(
            some & jnp.all(jnp.isfinite(solved.error)),
            lambda: strong(_looked(frame, length, looked, points, right)),
            lambda: strong(looked),
        )

    good = jnp.asarray(True)
    start = _Loop(blank, found, zero, zero, jnp.zeros(()), good, jnp.asarray(0))
    loop = jax.lax.while_loop(unfinished, again, strong(start))
    solved, fine = loop.solved, jnp.all(jnp.isfinite(loop.solved.error))
    end = frame.point(length, solved.coordinates[-1])
    room = jax.lax.cond(
        fine & jnp.any(gates.slides >= 0),
        lambda: jnp.minimum(*_room(frame, length, end, solved.duals[-1])),
        lambda: jnp.ones(gates.slides.size),
    )
    passed = jax.lax.cond(
        fine & (jnp.any(jnp.isfinite(loop.found.since)) | jnp.any(room < 0)),
        lambda: _made_good(frame, length, loop, room),
        lambda: unpassed(frame, solved),
    )
    return solved, passed


def unpassed(frame: Frame, solved: Solved) -> Passed:
    """A step that passes no kink."""
    gates, no = frame.field.gates, jnp.asarray(False)
    on = jnp.tile(gates.on[None], (FRACTIONS.size, 1, 1))
    asked = jnp.zeros_like(gates.on)
    coordinates, duals = solved.coordinates, solved.duals
    return Passed(no, jnp.ones(()), no, asked, coordinates, duals, on, gates)


def _lacking(frame: Frame, length, lack) -> Frame:
    return dataclasses.replace(frame, lack=Lack(length * FRACTIONS, lack))


def _sides(on, found: _Found, fractions) -> Bool[Array, "times samples kinks"]:
    """The gates at fractions of a step."""
    fractions = fractions[:, None, None]
    wrong = (fractions >= found.since[None]) & (fractions < found.until[None])
    wrong = wrong & ((fractions < 1) | found.wrong[None])
    return on[None] ^ wrong


def _right(frame: Frame, found: _Found, points) -> Float[Array, "5 samples kinks"]:
    """How far each kink is on the side of its gate, at the quarters."""
    field, on = frame.field, frame.field.gates.on
    sides = _sides(on, found, _log_time.NODES)

    def at(given):
        return kink_values(with_gates(field, _with(field.gates, given[0])), given[1])

    values = jax.lax.map(at, (sides, points))
    return jnp.where(slid(field)[None], 1.0, jnp.where(on[None], values, -values))


def _looked(frame: Frame, length, loop: _Loop, points, right) -> _Loop:
    """What is found on a step that has been solved, and what it lacks."""
    field, old, first = frame.field, loop.found, loop.count == 1
    terms = jax.lax.map(lambda point: term_sizes(field, point), points)
    # In units of their terms: those of a unit that grows grow with it.
    right = right / jnp.where(terms > 0, terms, jnp.inf) + ROUNDED
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
    new = _Found(
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
    lack = _lack(frame, length, loop.solved, spent * share[None])
    moved = frame.weight * (lack - loop.known)
    change = jnp.max(jnp.sqrt(jnp.sum(moved**2, axis=1)))
    second, inside, _ = _sizes(frame, lack)
    worth = (second <= MISSED * frame.rtol) & (inside <= INSIDE * frame.rtol)
    return loop._replace(found=new, lack=lack, change=change, worth=worth)


def _made_good(frame: Frame, length, loop: _Loop, room) -> Passed:
    """The step with what its wrong gates have missed, and gates to go on with."""
    field, same, found = frame.field, frame.field.gates, loop.found
    on, solved = same.on, loop.solved
    coordinates = solved.coordinates + loop.lack - loop.known
    nodes = coordinates[QUARTERS]
    points = jax.vmap(frame.point)(length * _log_time.NODES, nodes)
    leaving = _leaving(frame, length, points, solved.duals, room)
    sides = _sides(on, found, FRACTIONS)
    gone = marked(on, same.slides, leaving.left)
    opened = marked(on, same.slides, leaving.left & leaving.above)
    end, there = points[-1], with_gates(field, _with(same, sides[-1]))
    off = wrong_gates(there, end) & field.euclidean
    unclear = jnp.any(found.slides | gone | off)

    def guessed():
        settling = settled(
            field, end, frame.log_radius_at(length), solved.duals[-1],
            (sides[-1] | opened) & ~found.slides,
            found.slides | (slid(field) & ~gone),
        )  # fmt: skip
        return settling.gates, settling.point, settling.right

    def crossed():
        return _with(same, sides[-1]), end, jnp.asarray(True)

    gates, end, fine = jax.lax.cond(unclear, guessed, crossed)
    gates = jax.tree.map(lambda a, b: jnp.where(fine, a, b), gates, same)
    end = jnp.where(fine, end, points[-1])
    coordinates = coordinates.at[-1].set(jnp.exp(-frame.sigma * length) * end)
    share, first = _share(frame, loop, leaving, fine)
    stuck = (share < SHORT) & (first < EARLY)
    early = marked(on, same.slides, leaving.since < EARLY) | (found.since < EARLY)
    open_ = off | gone | (found.wrong & jnp.isfinite(found.since))
    asked = jnp.where(stuck, early, open_ & ~fine)
    on = sides.at[-1].set(gates.on)
    duals = _renewed(frame, length, coordinates, solved.duals, on)
    some = jnp.asarray(True)
    return Passed(some, share, stuck, asked, coordinates, duals, on, gates)


def _lack(frame: Frame, length, solved: Solved, spent) -> Float[Array, "9 weights"]:
    """What the right gates would have added to the coordinates at the `FRACTIONS`.

    Args:
        frame: Of the step.
        length: Of it.
        solved: The step as it is known so far.
        spent: The share of the step that each gate is wrong between two of them.
    """
    field, on = frame.field, frame.field.gates.on
    signs = jnp.where(on, -1.0, 1.0)
    duals = _AT_MIDDLES @ jnp.concatenate([frame.dual[None], solved.duals])
    duals = duals if field.free else jnp.maximum(duals, 0.0)
    middles = _AT_MIDDLES @ solved.coordinates[QUARTERS]
    times = length * _MIDDLES

    def jump(given):
        s, v, dual, spent = given
        found = _turned(frame, s, frame.point(s, v), dual, signs * spent, True)
        return length * jnp.exp(-frame.sigma * s) * found

    pieces = jax.lax.map(jump, (times, middles, duals, spent))
    return jnp.concatenate([jnp.zeros_like(frame.start)[None], jnp.cumsum(pieces, 0)])


def _turned(frame: Frame, s, point, dual, turn, hold: bool) -> Float[Array, " weights"]:
    """How the motion changes with the gates; where kinks are held, along them."""
    field = frame.field
    unit, log_radius = _unit(frame, s, point)
    dual = full_dual(field, field.margins(unit), log_radius, dual)
    slides = field.gates.slides if hold else jnp.full_like(field.gates.slides, -1)
    normals = field.gates.normals * (1.0 if hold else 0.0)

    def motion(gates):
        there = with_gates(field, Gates(gates, slides, normals))
        moved = eqx.tree_at(lambda f: f.field, frame, there)
        return moved.negative_gradient(point, dual)[1]

    return jax.jvp(motion, (field.gates.on.astype(float),), (turn,))[1]


def _unit(frame: Frame, s, point):
    """The point of norm one in polar coordinates, and its log-radius."""
    if not frame.field.polar:
        return point, jnp.zeros(())
    whole = two_norm(point)
    return point / whole, frame.log_radius_at(s) + jnp.log(whole)


def _room(frame: Frame, s, point, dual):
    """By how much the multipliers of kinks slid along are inside of [0, 1]."""
    field = frame.field
    unit, log_radius = _unit(frame, s, point)
    whole = full_dual(field, field.margins(unit), log_radius, dual)
    found, slack = multipliers(field, unit, whole)
    return slack + found, slack + 1 - found


def _leaving(frame: Frame, length, points, duals, room) -> _Leaving:
    """The kinks whose multipliers are out at the end."""
    field, left = frame.field, room < 0

    def some():
        times = length * _log_time.NODES
        all_duals = jnp.concatenate([frame.dual[None], duals])
        lower, upper = jax.lax.map(
            lambda given: _room(frame, *given), (times, points, all_duals)
        )
        above = left & (upper[-1] < lower[-1])
        since, _ = passages(jnp.where(above[None], upper, lower))
        since = jnp.where(left, jnp.minimum(since, 1.0), jnp.inf)
        out = jnp.where(left, length * (1 - since) * -room, 0.0)
        numbers = jnp.where(left, field.gates.slides, -1)
        turn = jnp.zeros(field.gates.on.size + 1)
        turn = turn.at[numbers].set(jnp.where(above, out, -out))[:-1]
        turn = turn.reshape(field.gates.on.shape)
        lost = _turned(frame, length, points[-1], duals[-1], turn, False)
        lost = jnp.exp(-frame.sigma * length) * lost
        return _Leaving(left, above, since, two_norm(frame.weight * lost))

    def none():
        never = jnp.full(left.shape, jnp.inf)
        return _Leaving(left, left, never, jnp.zeros(()))

    return jax.lax.cond(jnp.any(left), some, none)


def _sizes(frame: Frame, lack) -> tuple[Scalar, Scalar, Scalar]:
    """How far units are moved, squared; what a quartic does not follow; and in all."""
    units, lack = frame.field.units, frame.weight * lack
    sizes = jax.vmap(lambda row: units.norms(row, frame.unit))(lack)
    second = units.populated(frame.unit) * jnp.sum((lack * sizes) ** 2, axis=1)
    inside = jnp.sum((_AT_FRACTIONS @ lack[QUARTERS] - lack) ** 2, axis=1)
    total = jnp.sum(lack**2, axis=1)
    second, inside, total = (jnp.sqrt(jnp.max(a)) for a in (second, inside, total))
    return second, inside, total


def _share(frame: Frame, loop: _Loop, leaving: _Leaving, fine):
    """The share of a step that can be kept, and when its first kink is passed."""
    second, inside, total = _sizes(frame, loop.lack)
    change = jnp.maximum(loop.change, second)
    first = jnp.min(leaving.since, initial=jnp.inf)
    first = jnp.minimum(jnp.min(loop.found.since), first)
    # As shares of the way past the first kink: squares, and what grows in proportion.
    squares = jnp.maximum(change, leaving.missed) / (MISSED * frame.rtol)
    lines = jnp.where(fine, 0.0, total / (SHARP * frame.rtol))
    inside = inside / (INSIDE * frame.rtol)
    # On a shorter step kinks are passed later, and the quartic follows them less.
    late = jnp.maximum(inside, RAMP * total / (INSIDE * frame.rtol))
    most = jnp.maximum(jnp.sqrt(squares), lines)
    most = jnp.maximum(most, jnp.where(inside > 1, late, 0.0))
    cut = first + (1 - first) * CUT / jnp.maximum(most, 1.0)
    usable = jnp.isfinite(most)
    share = jnp.where(usable, jnp.minimum(cut, LAST), 0.5 * jnp.minimum(first, 1.0))
    return jnp.where(most <= 1, 1.0, share), first


def _renewed(frame: Frame, length, coordinates, duals, on) -> Float[Array, "4 margins"]:
    """The dual weights at the quarters, anew where they are functions of the point."""

    def anew(s, v, on):
        point = frame.point(s, v)
        field = with_gates(frame.field, _with(frame.field.gates, on))
        margins = field.margins(point)
        scale = field.scale(margins, frame.log_radius_at(s))
        return frame.dual_weights(margins, s), field.mild(margins, scale)

    some = QUARTERS[1:]
    times = length * _log_time.NODES[1:]
    found, mild = jax.vmap(anew)(times, coordinates[some], on[some])
    return jnp.where(mild[:, None], found, duals)


def _with(gates: Gates, on) -> Gates:
    return eqx.tree_at(lambda g: g.on, gates, on)
