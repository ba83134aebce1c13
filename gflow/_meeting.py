r"""Walls that a step meets, and those that it leaves.

A step runs blind to samples that nothing saw at its start. Where a unit sees one at its
end that holds it, it has come to a wall: if it is beyond by less than the tolerance it
is put back, else the step is repeated, only as long as there. A unit that a sample
pulls in goes on with it, far enough to be seen.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from . import _log_time
from ._arrival import Arrival
from ._field import two_norm
from ._frame import Frame
from ._passages import passages
from ._steps import QUARTERS
from ._types import Scalar
from ._walls import Walls, orthonormal, without
from ._ways import BACK, SAME, End, Ways, near_of, ways_of


HEAVY, FLAT = 1e-3, 1e-6
"""A sample that holds a unit has this much of the weight, and a margin this small
against the largest."""

BEHIND = 1e-2
"""So far behind a wall a unit is kept, against what is near: there rounding cannot let
it see the sample."""

AHEAD = 0.1
"""The square of how far a unit is put ahead that a sample pulls in, in units of the
tolerance: of the way that the others go meanwhile."""

AIM = 0.3
"""How far beyond a wall a repeated step is to end, as a share of how far it may."""

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
    """

    there: Arrival
    walls: Walls
    error: Scalar
    share: Scalar
    longest: Scalar
    known: Bool[Array, " margins"]


class _Held(NamedTuple):
    """What holds the end of a step.

    Attributes:
        found: Which of the ways lead to a wall that counts.
        held: Which of these walls hold.
        broken: Which of them are no match for the push.
        normals: Of those found; else zeros.
        gram: The inner products of normals.
        pull: Of the samples, from behind the walls.
        pushes: What each would be pushed with if all held.
        strength: What each holds against, at most.
    """

    found: Bool[Array, " some"]
    held: Bool[Array, " some"]
    broken: Bool[Array, " some"]
    normals: Float[Array, "some weights"]
    gram: Float[Array, "some some"]
    pull: Float[Array, " weights"]
    pushes: Float[Array, " some"]
    strength: Float[Array, " some"]


def meet(
    frame: Frame,
    length: Scalar,
    coordinates: Float[Array, "9 weights"],
    log_radius: Scalar,
    there: Arrival,
) -> Met:
    """The walls at the end of a step.

    Args:
        frame: Of the step.
        length: Of it.
        coordinates: On it, at the `FRACTIONS`.
        log_radius: Of the weights, at its end.
        there: Its end.
    """
    field, walls, margins = frame.field, frame.walls, there.margins
    zero, far = jnp.zeros(()), jnp.asarray(jnp.inf)
    none = Met(there, walls, zero, zero + 1, far, jnp.zeros_like(frame.seen))
    if len(walls.normals) == 0:
        return none
    point = there.unit(field)
    full = field.dual_weights(margins, log_radius, frame.seen, ~frame.seen)
    dual = jnp.where(frame.sighted, there.dual, full)
    heavy = (jnp.abs(margins) < FLAT * jnp.max(jnp.abs(margins))) & (dual > HEAVY)
    blind, points = heavy & ~frame.sighted, _quarters(frame, length, coordinates)
    met = jax.lax.cond(
        jnp.any(blind),
        lambda: jax.lax.map(field.margins, points) != frame.margins[None],
        lambda: jnp.zeros((len(points), margins.size), bool),
    )
    asked = heavy & (frame.sighted | jnp.any(met, axis=0))
    probe = points[-1 - jnp.argmax(jnp.any(met & blind[None], axis=1)[::-1])]
    end = End(point, probe, margins, dual, *field.units.assign(point))
    finite = jnp.all(jnp.isfinite(point)) & jnp.all(jnp.isfinite(dual))
    return jax.lax.cond(
        finite & (jnp.any(asked) | jnp.any(walls.some)),
        lambda: _met(frame, length, points, there, end, asked),
        lambda: none,
    )


def _quarters(frame: Frame, length, coordinates) -> Float[Array, "5 weights"]:
    """The points at the quarters of a step, of norm one in polar coordinates."""
    points = jax.vmap(frame.point)(length * _log_time.NODES, coordinates[QUARTERS])
    if not frame.field.polar:
        return points
    return points / jnp.sqrt(jnp.sum(points**2, axis=1, keepdims=True))


def _met(frame: Frame, length, points, there: Arrival, end: End, asked) -> Met:
    """The same where there may be some."""
    field, room = frame.field, len(frame.walls.normals)
    ways = ways_of(frame, end, asked)
    hold = _holding(frame, end, ways)
    foot, reach, pulled_in = ways.foot, ways.reach, hold.found & ~ways.foot.opposes
    speed = length * jnp.exp(-frame.log_speed(frame.start))
    late = hold.found & ways.blind & (-foot.at > BACK * frame.rtol * reach)
    # What a sample pulls in that nobody saw goes that way at once, and only that way.
    near, ahead = near_of(frame) * reach, jnp.sqrt(AHEAD * frame.rtol) * reach
    way = foot.at + jnp.where(hold.broken, near, -BEHIND * near)
    way = jnp.where(pulled_in, foot.at + ahead, way)
    back = jnp.where(pulled_in, jnp.abs(foot.at), jnp.abs(way)) / BACK
    turn, missed = _left_out(frame, end, ways, hold, speed)
    error = jnp.where(hold.found & ~late, back / frame.rtol / reach, 0.0)
    lost = ways.old & ~jnp.isfinite(foot.at) & ~foot.hidden
    error = jnp.max(jnp.where(lost, jnp.inf, error)) + missed / frame.rtol
    point = end.point + _solved(hold.gram, way, hold.found) @ hold.normals + turn
    chosen = jnp.argsort(~hold.held)[:room]  # the first of them
    normals = jnp.where(hold.held[chosen][:, None], hold.normals[chosen], 0.0)
    walls = Walls(normals, ways.numbers[chosen])
    # What is known of the motion from positions stays.
    gradient = hold.pull + there.gradient - without(frame.basis, _pull(frame, end))
    gradient = without(walls.basis(), gradient)
    whole = two_norm(there.point) if field.polar else 1.0
    margins = field.margins(point)
    there = Arrival(point * whole, there.dual, gradient, margins, there.awake)
    fast = hold.strength * jnp.exp(foot.power * jnp.log(ahead / near))
    soon = jnp.where(pulled_in, ahead / jnp.maximum(fast, 1e-300), jnp.inf)
    known = jnp.zeros_like(asked).at[ways.numbers].max(hold.found)
    share = _share_before(frame, points - end.point[None], ways, late)
    return Met(there, walls, error, share, jnp.min(soon) * length / speed, known)


def _pull(frame: Frame, end: End, point=None) -> Float[Array, " weights"]:
    """What samples pull that are seen, at the end or at another point."""
    _, pullback = jax.vjp(frame.field.margins, end.point if point is None else point)
    return pullback(jnp.where(frame.sighted, end.dual, 0.0))[0]


def _holding(frame: Frame, end: End, ways: Ways) -> _Held:
    """Which walls are there, and which of them hold."""
    foot, near = ways.foot, near_of(frame) * ways.reach
    strength = end.dual[ways.numbers] * foot.slope
    some = jnp.any(foot.normal != 0, axis=1) & jnp.isfinite(foot.at)
    # What dies is at a wall once it is near; what was blind to it, wherever it sees.
    found = some & jnp.where(
        foot.opposes, ways.old | ways.blind | (-foot.at <= near), ways.blind
    )
    found = found & ~_again(foot.normal, ways.numbers, found)
    basis = orthonormal(jnp.where(found[:, None], foot.normal, 0.0))
    found = found & jnp.any(basis != 0, axis=1)
    normals = jnp.where(found[:, None], foot.normal, 0.0)
    gram = normals @ normals.T

    def pushed(loop, _):
        """From behind all of them, where none of their samples pulls."""
        found = loop[0]
        behind = _solved(gram, foot.at - BEHIND * near, found)
        pull = _pull(frame, end, end.point + behind @ normals)
        held, force = _pushed(gram, normals @ pull, found & foot.opposes)
        push = jnp.where(foot.opposes, force, jnp.abs(normals @ pull))
        left = found & (ways.old | (push <= strength))
        return (left, found, held, force, pull), ()

    # What is no match for the push is not there, the second time.
    start = found, found, found, strength, jnp.zeros_like(end.point)
    (_, found, held, force, pull), _ = jax.lax.scan(pushed, start, None, 2)
    broken = held & (force > strength)
    pushes = _solved(gram, normals @ pull, found & foot.opposes)
    held = held & ~broken
    normals = jnp.where(found[:, None], normals, 0.0)
    return _Held(found, held, broken, normals, gram, pull, pushes, strength)


def _left_out(frame: Frame, end: End, ways: Ways, hold: _Held, speed):
    """How a step must be put right that had walls, and what that leaves out.

    On it normals stood still; and a wall that no longer holds at its end was left too
    late. The first is made good, to the second order of the step.
    """
    old, units = ways.old & hold.found, frame.field.units
    zeros = jnp.zeros_like(frame.walls.normals)
    starts = jnp.concatenate([frame.walls.normals, zeros])
    before = starts @ (frame.dual @ frame.jacobian)
    before = jnp.maximum(_solved(hold.gram, before, old), 0.0)
    after = jnp.where(old, hold.pushes, 0.0)
    turned = jnp.where(old[:, None], ways.foot.normal - starts, 0.0)
    turn = -speed / 4 * (before + jnp.maximum(after, 0.0)) @ turned
    along = _solved(hold.gram, hold.normals @ turn, hold.found)
    turn = turn - along @ hold.normals
    change = jnp.abs(after - before) / jnp.maximum(before + jnp.abs(after), 1e-300)
    change = jnp.max(jnp.sqrt(jnp.sum(turned**2, axis=1)) + change)
    far = change * jnp.max(units.norms(turn, end.unit) / end.size)
    out = jnp.maximum(-after, 0.0)
    late = speed * out**2 / jnp.maximum(2 * (before + out), 1e-300)
    return turn, far + jnp.max(late / ways.reach)


def _again(normals, numbers, found) -> Bool[Array, " some"]:
    """Which of the ways found lead to a wall that one before leads to."""
    alike = jnp.abs(normals @ normals.T) > 1 - SAME**2 / 2
    alike = alike & (numbers[:, None] == numbers[None]) & found[None]
    return jnp.any(jnp.tril(alike, -1), axis=1)


def _pushed(gram, along, some):
    """Which walls are pushed at, and with what; the others are left one by one."""

    def again(held):
        force = jnp.where(held, _solved(gram, along, held), jnp.inf)
        return held.at[jnp.argmin(force)].set(False)

    held = jax.lax.while_loop(
        lambda held: jnp.any(held & (_solved(gram, along, held) <= 0)), again, some
    )
    return held, _solved(gram, along, held)


def _solved(gram, right, some) -> Float[Array, " some"]:
    """The shares of some directions whose sum has these components along them."""
    matrix = jnp.where(some[:, None] & some[None], gram, jnp.eye(len(some)))
    return jnp.linalg.solve(matrix, jnp.where(some, right, 0.0))


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
