r"""Walls that a step meets, and those that it leaves.

A step runs blind to heavy samples that nothing saw at its start. Where a unit sees one
at its end that holds it, it has come to a wall: if it is beyond by less than the
tolerance it is put back, else the step is repeated, only as long as there. A unit that
a sample pulls in goes on with it, far enough to be seen.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._coordinates import two_norm
from .._frame import Frame
from .._holding import BEHIND, Held, holding
from .._steps import FRACTIONS, QUARTERS, SIXTHS
from .._types import Scalar
from .._walls import Walls, orthonormal, solved, turning, without
from .._ways import BACK, End, Ways, any_bends, bends, near_of, pull_at, ways_of
from ._arrival import Arrival
from ._passages import passages


HEAVY, FLAT = 1e-3, 1e-6
"""A sample that holds a unit has this much of the weight, and a margin this small
against the largest."""

AHEAD = 0.1
"""The square of how far a unit is put ahead that a sample pulls in, in units of the
tolerance: of the way that the others go meanwhile."""

AIM = 0.3
"""How far beyond a wall a repeated step is to end, as a share of how far it may."""

RAISED = 1e-3
"""By so much the loss may be raised; its logarithm, or this share of it."""

STILL = 0.1
"""So far a step moves no unit that stands still, against what is near to a wall."""

HALF = 0.5
"""Of a step whose way to a wall is not known."""


class Met(NamedTuple):
    """What comes of walls on a step.

    Attributes:
        there: Its end, put back to the walls.
        walls: Those that hold it from there on.
        error: What that leaves out, in units of the tolerance.
        share: The share of the step until it meets a new one; else one.
        longest: How long the next step may be at most, in the clock of this.
        known: The margins whose pulls on the step the walls stand for.
        pulled_in: Whether a unit is put ahead to where a sample pulls it.
        wanted: Whether to look for walls, for which there is no room.
    """

    there: Arrival
    walls: Walls
    error: Scalar
    share: Scalar
    longest: Scalar
    known: Bool[Array, " margins"]
    pulled_in: Bool[Array, ""]
    wanted: Bool[Array, ""]


def meet(
    frame: Frame,
    length: Scalar,
    coordinates: Float[Array, "9 weights"],
    on_the_way: Float[Array, "7 margins"],
    log_radius: Scalar,
    there: Arrival,
) -> Met:
    """The walls at the end of a step.

    Args:
        frame: Of the step.
        length: Of it.
        coordinates: On it, at the `FRACTIONS`.
        on_the_way: The margins at its sixths.
        log_radius: Of the weights, at its end.
        there: Its end.
    """
    field, walls, margins = frame.field, frame.walls, there.margins
    zero, far = jnp.zeros(()), jnp.asarray(jnp.inf)
    no = jnp.zeros((), bool)
    none = Met(there, walls, zero, zero + 1, far, jnp.zeros_like(frame.seen), no, no)
    if not field.walled:
        return none
    raised = _raised(frame, log_radius, margins)
    none = none._replace(error=jnp.where(raised, jnp.inf, 0.0))
    point = there.unit(field)
    full = field.dual_weights(margins, log_radius, frame.seen, ~frame.seen)
    dual = jnp.where(frame.sighted, there.dual, full)
    heavy = (jnp.abs(margins) < FLAT * jnp.max(jnp.abs(margins))) & (dual > HEAVY)
    met = on_the_way != frame.margins[None]
    asked = heavy & jnp.any(met, axis=0)
    finite = jnp.all(jnp.isfinite(point)) & jnp.all(jnp.isfinite(dual))
    when = jnp.any(met & (heavy & ~frame.sighted)[None], axis=1)
    probe = _points(frame, length, coordinates, SIXTHS)[-1 - jnp.argmax(when[::-1])]
    unit, size = field.units.assign(point)
    size = jnp.where(size > 0, size, jnp.max(size))  # those of size zero stay so
    end = End(point, probe, margins, dual, unit, size)
    if len(walls.normals) == 0:
        return none._replace(wanted=finite & any_bends(frame, end, asked))
    quarters = _points(frame, length, coordinates, QUARTERS)
    bent = jax.lax.cond(
        finite & jnp.any(asked),
        lambda: bends(frame, end, asked),
        lambda: (jnp.zeros_like(walls.normals), jnp.zeros_like(walls.margins)),
    )
    return jax.lax.cond(
        finite & (jnp.any(bent[0] != 0) | jnp.any(walls.some)),
        lambda: _met(frame, length, quarters, log_radius, there, end, asked, bent),
        lambda: none,
    )


def _points(frame: Frame, length, coordinates, places) -> Float[Array, "some weights"]:
    """Some points of a step, of norm one in polar coordinates."""
    points = jax.vmap(frame.point)(length * FRACTIONS[places], coordinates[places])
    return jax.vmap(frame.field.coordinates.back)(points)


def _met(
    frame: Frame, length, points, log_radius, there: Arrival, end: End, asked, bent
) -> Met:
    """The same where there may be some."""
    field, room = frame.field, len(frame.walls.normals)
    ways = ways_of(frame, end, asked, *bent)
    hold = holding(frame, end, ways)
    foot, reach, pulled_in = ways.foot, ways.reach, hold.found & ~ways.foot.opposes
    speed = length * jnp.exp(-frame.log_speed(frame.start))
    late = hold.found & ways.blind & (-foot.at > BACK * frame.rtol * reach)
    # What a sample pulls in that nobody saw goes that way at once, and only that way.
    near, ahead = near_of(frame) * reach, jnp.sqrt(AHEAD * frame.rtol) * reach
    way = foot.at + jnp.where(hold.broken, near, -BEHIND * near)
    way = jnp.where(pulled_in, foot.at + ahead, way)
    back = jnp.where(pulled_in, jnp.abs(foot.at), jnp.abs(way)) / BACK
    starts = frame.walls.normals
    turned = jnp.concatenate([starts, jnp.zeros_like(starts)])
    turned = jnp.where((ways.old & hold.found)[:, None], foot.normal - turned, 0.0)
    turn, missed = _left_out(frame, end, ways, hold, turned, speed)
    error = jnp.where(hold.found & ~late, back / frame.rtol / reach, 0.0)
    lost = ways.old & ~jnp.isfinite(foot.at) & ~foot.hidden
    # Where it has hardly moved what is not seen any more holds no more.
    moved = frame.field.units.norms(points[-1] - points[0], end.unit) / end.size
    lost = lost & (jnp.max(moved) > STILL * near_of(frame))
    error = jnp.max(jnp.where(lost, jnp.inf, error)) + missed / frame.rtol
    point = end.point + turn + solved(hold.gram, way, hold.found) @ hold.normals
    point = field.coordinates.back(point)
    raised = _raised(frame, log_radius, field.margins(point))
    error = jnp.where(raised, jnp.inf, error)
    chosen = jnp.argsort(~hold.held)[:room]  # the first of them
    normals = jnp.where(hold.held[chosen][:, None], hold.normals[chosen], 0.0)
    turns = jnp.where(hold.held[chosen][:, None], turning(turned)[chosen], 0.0)
    next_length = length * jnp.exp(-frame.log_growth(there.point))
    basis = orthonormal(normals)
    walls = Walls(normals, ways.numbers[chosen], basis, turns / next_length)
    # What is known of the motion from positions stays.
    gradient = (
        hold.pull
        + there.gradient
        - without(frame.basis_at(length), pull_at(frame, end))
    )
    gradient = without(walls.basis, gradient)
    # As far from where points are kept as before.
    size = two_norm(there.unit(field))
    apart = jnp.where(size > 0, two_norm(there.point) / size, 1.0)
    margins = field.margins(point)
    there = Arrival(point * apart, there.dual, gradient, margins, there.awake)
    fast = hold.strength * jnp.exp(foot.power * jnp.log(ahead / near))
    soon = jnp.where(pulled_in, ahead / jnp.maximum(fast, 1e-300), jnp.inf)
    known = jnp.zeros_like(asked).at[ways.numbers].max(hold.found | hold.again)
    share = _share_before(frame, points - end.point[None], ways, late)
    longest = jnp.min(soon) * length / speed
    no = jnp.zeros((), bool)
    return Met(there, walls, error, share, longest, known, jnp.any(pulled_in), no)


def _raised(frame: Frame, log_radius, margins) -> Bool[Array, ""]:
    """Whether the loss is more than before the step: that of no gradient flow is."""

    def log_loss(margins, log_radius):
        return frame.field.log_slope_and_loss(margins, log_radius, frame.seen)[1]

    before = log_loss(frame.margins, frame.log_radius)
    after = log_loss(margins, log_radius)
    return after > before + RAISED * jnp.maximum(1.0, jnp.abs(before))


def _left_out(frame: Frame, end: End, ways: Ways, hold: Held, turned, speed):
    """How a step must be put right that had walls, and what that leaves out.

    On it normals turned as they did before; and a wall that no longer holds at its end
    was left too late. The first is made good, to the next order of the step.
    """
    old, units = ways.old & hold.found, frame.field.units
    starts = ways.foot.normal - turned
    before = starts @ (frame.dual @ frame.jacobian)
    before = jnp.maximum(solved(hold.gram, before, old), 0.0)
    after = jnp.where(old, hold.pushes, 0.0)
    pushed = jnp.maximum(after, 0.0)
    expected = frame.walls.after(frame.length) - frame.walls.normals
    expected = jnp.concatenate([expected, jnp.zeros_like(expected)])
    # How far they are from where they were expected grows with the square of time; as
    # time itself where nothing was.
    known = jnp.any(expected != 0, axis=1)
    by_push = jnp.where(known, before / 12 + pushed / 4, before / 6 + pushed / 3)
    turn = by_push @ (turned - jnp.where(old[:, None], expected, 0.0))
    along = solved(hold.gram, hold.normals @ turn, hold.found)
    turn = -speed * (turn - along @ hold.normals)
    change = jnp.abs(after - before) / jnp.maximum(before + jnp.abs(after), 1e-300)
    change = jnp.max(jnp.sqrt(jnp.sum(turned**2, axis=1)) + change)
    far = change * jnp.max(units.norms(turn, end.unit) / end.size)
    # It holds no more once the push turns, or is too strong, or none pulls back.
    out = jnp.maximum(-after, 0.0) + jnp.where(
        old & hold.broken, jnp.maximum(after - hold.strength, 0.0), 0.0
    )
    ways_out = ways.old & jnp.isfinite(ways.foot.at) & ~ways.foot.opposes
    out = jnp.where(ways_out, jnp.abs(ways.foot.normal @ hold.pull), out)
    late = speed * out**2 / jnp.maximum(2 * (before + out), 1e-300)
    return turn, far + jnp.max(late / ways.reach)


def _share_before(frame: Frame, apart, ways: Ways, late) -> Scalar:
    """The share of a step that ends just beyond the first wall met too late.

    Args:
        frame: Of the step.
        apart: Where it is at its quarters, from its end.
        ways: To the walls.
        late: Those that are met too late.
    """
    beyond = apart @ ways.foot.normal.T - ways.foot.at[None]
    since, _ = passages(AIM * BACK * frame.rtol * ways.reach[None] - beyond)
    since = jnp.where((since > 0) & (since < 1), since, HALF)
    return jnp.min(jnp.where(late, since, 1.0))
