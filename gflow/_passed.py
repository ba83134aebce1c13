r"""Kinks that a step has passed: since when, and what it has missed there.

A step runs at frozen gates. A gate that is wrong at its end is wrong since the time at
which the function $u$ of its kink crossed zero. What the right gate would have done
since then is added to the step, to first order; how far that moves each unit, squared,
is left as an error. If that is too much the step is repeated, only as long as it may
be. So kinks that hardly matter by themselves, as in a wide network, cost no steps.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from . import _log_time
from ._field import two_norm
from ._frame import Frame
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
)
from ._steps import FRACTIONS, QUARTERS
from ._types import Scalar


LOOKS = 16
"""At so many places of a step kinks are looked at."""

HALVINGS = 30
"""Of the interval between two of them in which a kink is passed."""

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

_TO_POWERS = np.linalg.inv(np.vander(_log_time.NODES, 5, increasing=True))


def _through_quarters(fractions: np.ndarray) -> np.ndarray:
    """From values at the quarters to those of their quartic at these fractions."""
    return np.vander(fractions, 5, increasing=True) @ _TO_POWERS


_AT_LOOKS = _through_quarters(np.linspace(0, 1, LOOKS + 1))
_AT_MIDDLES = _through_quarters((FRACTIONS[1:] + FRACTIONS[:-1]) / 2)
_AT_FRACTIONS = _through_quarters(FRACTIONS)


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
    frame: Frame,
    length: Scalar,
    coordinates: Float[Array, "9 weights"],
    duals: Float[Array, "4 margins"],
) -> Passed:
    """The kinks that a step passes, and the step made good.

    Args:
        frame: Of the step.
        length: Of it.
        coordinates: At the `FRACTIONS`.
        duals: The dual weights at its quarters.
    """
    field, gates = frame.field, frame.field.gates
    points = jax.vmap(frame.point)(length * _log_time.NODES, coordinates[QUARTERS])
    values = jax.lax.map(lambda point: kink_values(field, point), points)
    right = jnp.where(gates.on[None], values, -values)
    right = jnp.where(slid(field)[None], 1.0, right)
    wrong = jnp.any(jnp.tensordot(_AT_LOOKS[1:], right, 1) < 0)
    room = jax.lax.cond(
        jnp.any(gates.slides >= 0),
        lambda: jnp.minimum(*_room(frame, length, points[-1], duals[-1])),
        lambda: jnp.ones(gates.slides.size),
    )

    def some():
        left = _leaving(frame, length, points, duals, room)
        return _make_good(frame, length, coordinates, duals, points, right, left)

    def none():
        return unpassed(frame, coordinates, duals)

    return jax.lax.cond(wrong | jnp.any(room < 0), some, none)


def unpassed(frame: Frame, coordinates, duals) -> Passed:
    """A step that passes no kink."""
    gates, no = frame.field.gates, jnp.asarray(False)
    on = jnp.tile(gates.on[None], (FRACTIONS.size, 1, 1))
    asked = jnp.zeros_like(gates.on)
    return Passed(no, jnp.ones(()), no, asked, coordinates, duals, on, gates)


def _make_good(frame, length, coordinates, duals, points, right, leaving) -> Passed:
    """The step with what its wrong gates have missed."""
    field, on = frame.field, frame.field.gates.on
    terms = jax.lax.map(lambda point: term_sizes(field, point), points)
    # In units of their terms: those of a unit that grows grow with it.
    terms = jnp.where(terms > 0, terms, jnp.inf)
    right = right / terms + ROUNDED
    since, until = _passages(right)
    wrong = right[-1] < 0
    fractions = FRACTIONS[:, None, None]
    spent = jnp.clip(fractions, since[None], until[None])
    spent = jnp.diff(jnp.where(jnp.isfinite(since)[None], spent, 0.0), axis=0)
    after = (fractions >= since[None]) & (fractions < until[None])
    sides = (on[None] ^ after).at[-1].set(on ^ wrong)

    def back(lack):
        """How far the right gates lead kinks back, beyond u = 0."""
        there = with_gates(field, _with(field.gates, sides[-1]))
        point = frame.point(length, coordinates[-1] + lack[-1])
        found = kink_values(there, point) / terms[-1]
        return jnp.where(slid(field), 0.0, jnp.where(sides[-1], -found, found))

    lack = _lack(frame, length, coordinates, duals, spent)
    over = back(lack)
    slides = wrong & (over > ROUNDED) & field.euclidean

    def to_zero():
        share = jnp.where(slides, right[-1] / jnp.where(slides, right[-1] - over, 1), 1)
        return _lack(frame, length, coordinates, duals, spent * share[None])

    # Kinks that both sides lead to are slid along.
    lack = jax.lax.cond(jnp.any(slides), to_zero, lambda: lack)
    made_good = coordinates + lack

    end, same = frame.point(length, made_good[-1]), field.gates
    gone = marked(on, same.slides, leaving.left)
    opened = marked(on, same.slides, leaving.left & leaving.above)
    unclear = jnp.any(slides | gone | ((over > ROUNDED) & field.euclidean))

    def guessed():
        found = settled(
            field, end, frame.log_radius_at(length), duals[-1],
            (sides[-1] | opened) & ~slides, slides | (slid(field) & ~gone),
        )  # fmt: skip
        return found.gates, found.point, found.right

    def crossed():
        return _with(same, sides[-1]), end, jnp.asarray(True)

    gates, point, fine = jax.lax.cond(unclear, guessed, crossed)
    gates, end = jax.tree.map(
        lambda a, b: jnp.where(fine, a, b), (gates, point), (field.gates, end)
    )
    made_good = made_good.at[-1].set(jnp.exp(-frame.sigma * length) * end)
    share, first = _share(frame, lack, leaving, since, fine)
    stuck = (share < SHORT) & (first < EARLY)
    early = jnp.where(stuck, since < EARLY, jnp.isfinite(since) & wrong)
    due = jnp.where(stuck, leaving.since < EARLY, True) & leaving.left
    due = marked(on, same.slides, due)
    asked = (early | (~stuck & (over > ROUNDED)) | due) & ~fine
    asked = asked | (stuck & (early | due))
    on = sides.at[-1].set(gates.on)
    duals = _renewed(frame, length, made_good, duals, on)
    some = jnp.asarray(True)
    return Passed(some, share, stuck, asked, made_good, duals, on, gates)


def _passages(right: Float[Array, "5 *kinks"]) -> tuple[Array, Array]:
    """From which fraction and to which values at the quarters are negative, or inf."""
    shape = right.shape[1:]
    right = right.reshape(right.shape[0], -1)
    looks = jnp.tensordot(_AT_LOOKS, right, 1).at[-1].set(right[-1])
    powers = jnp.tensordot(_TO_POWERS, right, 1)
    below, index = looks[1:] < 0, np.arange(LOOKS)[:, None]

    def zero(after, falls):
        """Between two looks, by bisection."""

        def halve(_, ends):
            low, high = ends
            middle = (low + high) / 2
            value = powers[4]
            for power in powers[3::-1]:
                value = value * middle + power
            early = (value >= 0) == falls
            return jnp.where(early, middle, low), jnp.where(early, high, middle)

        ends = after / LOOKS, (after + 1) / LOOKS
        return jax.lax.fori_loop(0, HALVINGS, halve, ends)[1]

    into = jnp.argmax(below, axis=0)
    since = jnp.where((into == 0) & (looks[0] < 0), 0.0, zero(into, True))
    since = jnp.where(jnp.any(below, axis=0), since, jnp.inf)
    later = ~below & (index > into[None])
    ends = jnp.any(later, axis=0) & ~below[-1]
    until = jnp.where(ends, zero(jnp.argmax(later, axis=0), False), jnp.inf)
    return since.reshape(shape), until.reshape(shape)


def _lack(frame: Frame, length, coordinates, duals, spent) -> Float[Array, "9 weights"]:
    """What the right gates would have added to the coordinates at the `FRACTIONS`.

    Args:
        frame: Of the step.
        length: Of it.
        coordinates: At the `FRACTIONS`.
        duals: The dual weights at its quarters.
        spent: The share of the step that each gate is wrong between two of them.
    """
    field, on = frame.field, frame.field.gates.on
    signs = jnp.where(on, -1.0, 1.0)
    duals = _AT_MIDDLES @ jnp.concatenate([frame.dual[None], duals])
    duals = duals if field.free else jnp.maximum(duals, 0.0)
    middles = _AT_MIDDLES @ coordinates[QUARTERS]
    times = length * (FRACTIONS[1:] + FRACTIONS[:-1]) / 2

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
        since, _ = _passages(jnp.where(above[None], upper, lower))
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


def _share(frame: Frame, lack, leaving: _Leaving, since, fine) -> tuple[Scalar, Scalar]:
    """The share of a step that can be kept, and when its first kink is passed."""
    units = frame.field.units
    moved = frame.weight * lack
    sizes = jax.vmap(lambda row: units.norms(row, frame.unit))(moved)
    count = units.populated(frame.unit)
    second = jnp.max(jnp.sqrt(count * jnp.sum((moved * sizes) ** 2, axis=1)))
    inside = frame.weight * (_AT_FRACTIONS @ lack[QUARTERS] - lack)
    inside = jnp.max(jnp.sqrt(jnp.sum(inside**2, axis=1)))
    total = jnp.max(jnp.sqrt(jnp.sum(moved**2, axis=1)))
    first = jnp.minimum(jnp.min(since), jnp.min(leaving.since, initial=jnp.inf))
    # As shares of the way past the first kink: squares, and what grows in proportion.
    squares = jnp.sqrt(jnp.maximum(second, leaving.missed) / (MISSED * frame.rtol))
    lines = jnp.where(fine, 0.0, total / (SHARP * frame.rtol))
    inside = inside / (INSIDE * frame.rtol)
    # On a shorter step kinks are passed later, and the quartic follows them less.
    late = jnp.maximum(inside, RAMP * total / (INSIDE * frame.rtol))
    most = jnp.maximum(jnp.maximum(squares, lines), jnp.where(inside > 1, late, 0.0))
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
