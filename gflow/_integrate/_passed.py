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

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _log_time
from .._coordinates import two_norm
from .._directions import kink_values
from .._frame import Frame
from .._lack import Lack
from .._settled import kept_on, marked, settled
from .._sides import Gates, slid
from .._slides import (
    ROUNDED,
    term_sizes,
    with_gates,
    wrong_gates,
)
from .._steps import FRACTIONS, QUARTERS
from .._types import Scalar
from ._carry import strong
from ._kept import MISSED, share_kept
from ._leaving import leaving_of, room_of
from ._missed import Solved, duals_anew
from ._passages import any_passage
from ._wrong import Found, Loop, looked_at, right_sides, sides_at, with_on


ROUNDS = 4
"""How often a step is solved at most."""

ONTO = 10.0
"""How far the end may be from the kinks to slide along, in units of the tolerance: what
the flow does there is all that counts, and this grows with the square of a step."""

EARLY = 1e-6
"""A kink that is passed before this share of a step is passed at its start."""

SHORT = 0.1
"""If not even so much of such a step is right, gates are decided at its start."""


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


def pass_kinks(
    frame: Frame, length: Scalar, solve: Callable[[Frame], Solved], blank: Solved
) -> tuple[Solved, Passed]:
    """A step, and the kinks that it passes made good.

    Args:
        frame: Of the step.
        length: Of it.
        solve: The step of a frame, which knows what its gates lack.
        blank: What this returns, with any numbers.
    """
    gates = frame.field.gates
    no, none = jnp.zeros(gates.on.shape, bool), jnp.zeros(gates.on.shape)
    never = jnp.full(gates.on.shape, jnp.inf)
    found = Found(never, never, none + 1, none, no, no)
    zero = jnp.zeros((FRACTIONS.size, frame.start.size))

    def unfinished(loop):
        more = loop.fresh | (loop.change > MISSED * frame.rtol)
        more = more & loop.worth
        return (loop.count == 0) | (more & (loop.count < ROUNDS))

    def again(loop):
        solved = solve(_lacking(frame, length, loop.lack))
        spent = loop.solved.gradients + solved.gradients
        looked = loop._replace(
            solved=solved._replace(gradients=spent),
            known=loop.lack,
            change=jnp.zeros(()),
            fresh=jnp.asarray(False),
            count=loop.count + 1,
        )
        nodes = solved.coordinates[QUARTERS]
        points = jax.vmap(frame.point)(length * _log_time.NODES, nodes)
        right = right_sides(frame, loop.found, points)
        some = (loop.count > 0) | any_passage(right)
        return jax.lax.cond(
            some & jnp.all(jnp.isfinite(solved.error)),
            lambda: strong(looked_at(frame, length, looked, points, right)),
            lambda: strong(looked),
        )

    start = Loop(
        blank, found, zero, zero, change=jnp.zeros(()), worth=jnp.asarray(True),
        fresh=jnp.asarray(False), count=jnp.asarray(0),
    )  # fmt: skip
    loop = jax.lax.while_loop(unfinished, again, strong(start))
    solved, fine = loop.solved, jnp.all(jnp.isfinite(loop.solved.error))
    end = frame.point(length, solved.coordinates[-1])
    room = jax.lax.cond(
        fine & jnp.any(gates.slides >= 0),
        lambda: jnp.minimum(*room_of(frame, length, end, solved.duals[-1])),
        lambda: jnp.ones(gates.slides.shape),
    )
    passed = jax.lax.cond(
        fine & (jnp.any(jnp.isfinite(loop.found.since)) | jnp.any(room < 0)),
        lambda: _made_good(frame, length, loop, room),
        lambda: unpassed(frame, solved),
    )
    end = frame.point(length, passed.coordinates[-1])
    onto = kept_on(with_gates(frame.field, passed.gates), end)
    coordinates = passed.coordinates.at[-1].add(
        jnp.exp(-frame.sigma * length) * (onto - end)
    )
    return solved, passed._replace(coordinates=coordinates)


def unpassed(frame: Frame, solved: Solved) -> Passed:
    """A step that passes no kink."""
    gates, no = frame.field.gates, jnp.asarray(False)
    on = jnp.tile(gates.on[None], (FRACTIONS.size, 1, 1))
    asked = jnp.zeros_like(gates.on)
    coordinates, duals = solved.coordinates, solved.duals
    return Passed(no, jnp.ones(()), no, asked, coordinates, duals, on, gates)


def _lacking(frame: Frame, length, lack) -> Frame:
    return dataclasses.replace(frame, lack=Lack(length * FRACTIONS, lack))


def _made_good(frame: Frame, length, loop: Loop, room) -> Passed:
    """The step with what its wrong gates have missed, and gates to go on with."""
    field, same, found = frame.field, frame.field.gates, loop.found
    on, solved = same.on, loop.solved
    coordinates = solved.coordinates + loop.lack - loop.known
    nodes = coordinates[QUARTERS]
    points = jax.vmap(frame.point)(length * _log_time.NODES, nodes)
    leaving = leaving_of(frame, length, points, solved.duals, room)
    sides = sides_at(on, found, FRACTIONS)
    gone = marked(on, same.slides, leaving.left)
    opened = marked(on, same.slides, leaving.left & leaving.above)
    end, there = points[-1], with_gates(field, with_on(same, sides[-1]))
    off = wrong_gates(there, end) & field.euclidean
    bent = _bent(field, there, end)
    unclear = jnp.any(found.slides | gone | off | bent)

    def guessed():
        settling = settled(
            field, end, frame.log_radius_at(length), solved.duals[-1],
            (sides[-1] | opened) & ~found.slides,
            found.slides | (slid(field.gates) & ~gone),
        )  # fmt: skip
        return settling.gates, settling.point, settling.right

    def crossed():
        return with_on(same, sides[-1]), end, jnp.asarray(True)

    gates, onto, fine = jax.lax.cond(unclear, guessed, crossed)
    gates = jax.tree.map(lambda a, b: jnp.where(fine, a, b), gates, same)
    onto = jnp.exp(-frame.sigma * length) * onto
    # Kinks that nearly depend on each other may be far away.
    moved = two_norm(frame.weight * (onto - coordinates[-1]))
    coordinates = coordinates.at[-1].set(jnp.where(fine, onto, coordinates[-1]))
    missed = jnp.maximum(loop.change, moved * MISSED / ONTO)
    missed = jnp.where(loop.fresh, jnp.inf, missed)
    share, first = share_kept(frame, loop.lack, missed, found.since, leaving, fine)
    stuck = (share < SHORT) & (first < EARLY)
    early = marked(on, same.slides, leaving.since < EARLY) | (found.since < EARLY)
    open_ = off | gone | (found.wrong & jnp.isfinite(found.since))
    asked = jnp.where(stuck, early, open_ & ~fine)
    on = sides.at[-1].set(gates.on)
    duals = duals_anew(frame, length, coordinates, solved.duals, on)
    some = jnp.asarray(True)
    return Passed(some, share, stuck, asked, coordinates, duals, on, gates)


def _bent(field, there, point) -> Bool[Array, "samples kinks"]:
    """The kinks slid along whose functions are others at the new gates.

    Behind kinks of another layer, or of a maximum over many, they are.
    """
    slides, turns = slid(field.gates), jnp.any(there.gates.on != field.gates.on)
    if field.straight:
        return jnp.zeros_like(slides)

    def compared():
        change = kink_values(there, point) - kink_values(field, point)
        return slides & (jnp.abs(change) > ROUNDED * term_sizes(there, point))

    some = turns & jnp.any(slides) & field.euclidean
    return jax.lax.cond(some, compared, lambda: jnp.zeros_like(slides))
