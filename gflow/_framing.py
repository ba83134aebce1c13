"""The frame of a step, from the flow at its start.

Which margins count, which units may rest, how fast the others go ahead (see `_paces`),
and what the errors of each are relative to.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._coordinates import two_norm
from ._field import Field
from ._frame import Frame
from ._jacobian import Jacobian, by_rows, jacobian_of
from ._paces import Paces, paces
from ._seen import counted, seen_margins
from ._slides import projector
from ._types import Scalar
from ._walls import Walls, orthonormal, without


REST = 1e-5, 1e-14
"""A unit may rest where its negative gradient is below this times `rtol` (and at least
the second number) of what its samples pull at it, one by one."""

WAKE = 1e-3, 1e-13
"""And if at the end of the step it is above this, the step is too long."""

LEAST = 1e-131
"""The weights of samples that move something are at least this, against those that do
not: these have at most e to `LOG_MOST` of `_dual_kinds`."""

SLOW = 1e3
"""Only steps this much longer than the unit's own time let it rest."""

ROUNDED = 0.1
"""The share of the tolerance that rounding in the pulls of samples takes at most."""

LARGE = 1e-3
"""Only units above this size rest, against the whole network."""


class _Start(NamedTuple):
    """The flow at the start of a step.

    Attributes:
        margins: $z$.
        jacobian: $J$, formed or not.
        dual: $q$, whose sum over what is seen is one.
        gradient: $J^\\top q$.
        seen: The margins that count.
        lost: Those that walls keep from all large units.
        length: Of the step, in the clock of these dual weights.
    """

    margins: Float[Array, " margins"]
    jacobian: Jacobian
    dual: Float[Array, " margins"]
    gradient: Float[Array, " weights"]
    seen: Bool[Array, " margins"]
    lost: Bool[Array, " margins"]
    length: Scalar


class _Sizes(NamedTuple):
    """The unit of each weight, the size of that unit, and that of the whole."""

    unit: Int[Array, " weights"]
    size: Float[Array, " weights"]
    whole: Scalar


def make_frame(
    field: Field,
    point: Float[Array, " weights"],
    log_radius: Scalar,
    dual: Float[Array, " margins"],
    gradient: Float[Array, " weights"],
    walls: Walls,
    length: Scalar,
    rtol: Scalar,
) -> Frame:
    """The frame of a step of about this length."""
    held = jnp.any(walls.some)
    start = _seen(field, point, log_radius, dual, gradient, length, held)
    sizes = _Sizes(*field.units.assign(point), two_norm(point))
    project, basis = projector(field, point), walls.basis

    def free(rows):
        return jnp.abs(project(without(basis, rows)))

    if len(basis) > 0:
        start = _without_lost(start, walls, free, sizes)

    def allowed(p):
        (pull,) = jax.vjp(field.margins, p)[1](start.dual)
        return projector(field, p)(without(basis, pull))

    start = start._replace(gradient=without(basis, start.gradient))
    pulled, squares = _sample_by_sample(field, start, free)
    pulled, rest = _resting(field, start, pulled, sizes, rtol)
    gradient = jnp.where(rest, 0.0, start.gradient)
    start = start._replace(gradient=gradient)
    whole = sizes.whole
    growth = field.coordinates.growth(point, gradient)
    if field.euclidean:
        pace = paces(
            field, allowed, point, gradient, sizes.unit, sizes.size, rest, growth,
            start.length,
        )  # fmt: skip
    else:
        still = jnp.zeros_like(point)
        pace = Paces(rate=still, share=still, power=jnp.zeros(()))
        one, all_of_it = jnp.zeros_like(sizes.unit), jnp.full_like(point, whole)
        sizes = _Sizes(one, all_of_it, whole)
    floor, moved, portion, count = _error_scales(
        field, point, log_radius, start, (pulled, squares), sizes, pace, rtol
    )
    return Frame(
        field=field, start=point, log_radius=log_radius, dual=start.dual,
        seen=start.seen, lost=start.lost, length=start.length, margins=start.margins,
        jacobian=start.jacobian, gradient=gradient, unit=sizes.unit,
        size=jnp.where(sizes.size > 0, sizes.size, 1.0), rate=pace.rate, growth=growth,
        share=pace.share, power=pace.power, rest=rest,
        basis=(basis, orthonormal(walls.after(length))),
        walls=walls.in_clock(length / start.length),
        pulled=pulled, floor=floor, weight=1 / (moved * jnp.sqrt(count)),
        portion=portion, rtol=rtol,
    )  # fmt: skip


def _seen(field: Field, point, log_radius, dual, gradient, length, held) -> _Start:
    """The flow with dual weights of what counts now: see `seen_margins`.

    What no longer does changes the clock, and so does what counts again.
    """
    margins, jacobian = jacobian_of(field, point)
    seen = seen_margins(field, margins, jacobian, log_radius, held)
    lost = jnp.zeros_like(seen)
    if not field.duals.linear:
        there = field, margins, jacobian, log_radius
        dual, gradient = counted(*there, seen, dual, gradient)
        total = jnp.sum(dual)
        dual, gradient, length = dual / total, gradient / total, length * total
    return _Start(margins, jacobian, dual, gradient, seen, lost, length)


def _without_lost(start: _Start, walls: Walls, free, sizes: _Sizes) -> _Start:
    """The flow in the clock of the margins that move some large unit.

    One that holds units at walls, and is seen by small ones alone, would slow it.
    """
    large = LARGE * sizes.whole

    def moves(rows, _):
        rows = jnp.where(sizes.size[None] > large, free(rows), 0.0)
        return jnp.any(rows > 0, axis=1), ()

    holds = jnp.zeros_like(start.seen).at[walls.margins].max(walls.some)
    lost = holds & start.seen & ~by_rows(start.jacobian, moves)[0]
    lost = lost & jnp.any(start.seen & ~lost)
    seen = start.seen & ~lost
    total = jnp.sum(jnp.where(seen, start.dual, 0.0))
    total = jnp.where(jnp.any(lost), jnp.maximum(total, LEAST), 1.0)
    return start._replace(
        seen=seen,
        lost=lost,
        dual=start.dual / total,
        gradient=start.gradient / total,
        length=start.length * total,
    )


def _sample_by_sample(field: Field, start: _Start, free):
    """What samples pull at each weight, whichever way, and what squares of it add to.

    The first is without what holds, the second is not.
    """

    def sums(rows, _, pulls, dual):
        return (), (pulls @ free(rows), dual @ rows**2)

    weights = field.duals.pull_sizes(field.flow, start.dual), jnp.abs(start.dual)
    return by_rows(start.jacobian, sums, *weights)[1]


def _resting(field: Field, start: _Start, pulled, sizes: _Sizes, rtol):
    """What samples pull at the unit of each weight, and whether it rests all the same.

    That is where the pulls are in balance, on a step that is long against each of them.
    """
    unit, size, whole = sizes
    force, pulled = field.units.norms(jnp.stack([start.gradient, pulled]), unit)
    least = jnp.maximum(REST[0] * rtol, REST[1])
    rest = (force <= least * pulled) & (start.length * pulled > SLOW * size)
    return pulled, rest & (size > LARGE * whole) & field.euclidean


def _error_scales(
    field: Field,
    point,
    log_radius,
    start: _Start,
    pulls,
    sizes: _Sizes,
    pace: Paces,
    rtol,
):
    """What errors of the unit of each weight are relative to: at least, and at all.

    And one over the number of its weights, and the number of units that have a size.
    Units that the softmin holds stiffly are seen by what they do to the whole: below
    that, rounding in the margins decides where they are. So it does where samples that
    pull at a unit are in balance.
    """
    pulled, squares = pulls
    units, (unit, size, whole) = field.units, sizes
    moved = size  # a unit that is zero, or nearly, is as large as it will be
    if field.euclidean:
        way = units.norms(start.gradient - pace.rate * point, unit)
        moved = size + start.length * way
    scale = field.scale(start.margins, log_radius)
    held, members = units.totals(jnp.stack([squares, jnp.ones_like(squares)]), unit)
    held, portion = start.length * scale * held, 1 / members
    sharp = ~field.mild(start.margins, scale)
    floor = jnp.where(sharp & field.euclidean, whole * held / (1 + held), 0.0)
    rounding = start.length * jnp.finfo(float).eps * pulled
    floor = jnp.maximum(floor, rounding / (ROUNDED * rtol))
    moved = jnp.maximum(moved, floor)
    count = jnp.sum(jnp.where(moved > 0, portion, 0.0))
    moved = jnp.where(moved > 0, moved, 1.0)
    return floor, moved, portion, count
