"""Ways to walls at the end of a step: to those that held its start, and to new ones."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._coordinates import two_norm
from ._foot import Foot, Pulling, foot_of, reach_of
from ._frame import Frame
from ._jacobian import Slopes
from ._types import Scalar
from ._walls import WALLS, solved


NEAR, LEAST_NEAR = 0.1, 1e-12
"""A unit that would be so near to a wall is at it: in units of the tolerance against
its size, and at least."""

BACK = 0.5
"""How far a wall that holds is looked for, in units of the tolerance; and how far a
unit is put back to one at most."""

SHARES = 1.0, 0.1, 0.01
"""How near to a wall its normal is taken, in turn, against what is near."""

MOST, ENTRIES = 64, 2**24
"""So many margins at most are looked at together, or samples, whose gradients have so
many entries at most."""

SAME = 1e-2
"""Directions that are less than this apart from walls that hold lead to none."""


MATCH, STEEPEST = 1e-3, 3
"""Margins are looked at that pull at a unit, near to it, with this share of what the
others do; their pulls grow with this power of the way at most, and once more."""


class End(NamedTuple):
    """The end of a step, at norm one in polar coordinates.

    Attributes:
        point: The point.
        probe: The same, or where on the step a sample was seen that is not seen there.
        margins: At the end.
        dual: The dual weights, those of unseen samples in proportion.
        unit: The unit of each weight,
        size: and its size.
    """

    point: Float[Array, " weights"]
    probe: Float[Array, " weights"]
    margins: Float[Array, " margins"]
    dual: Float[Array, " margins"]
    unit: Int[Array, " weights"]
    size: Float[Array, " weights"]


class Ways(NamedTuple):
    """Walls that may be met.

    Attributes:
        numbers: Of their margins.
        old: Which of them held the start of the step.
        blind: Of the others, whether nothing saw the margin there.
        reach: The length along each that moves some unit by its size.
        foot: Where each of them is.
    """

    numbers: Int[Array, " some"]
    old: Bool[Array, " some"]
    blind: Bool[Array, " some"]
    reach: Float[Array, " some"]
    foot: Foot


def near_of(frame: Frame) -> Scalar:
    """What is near to a wall, against the size of a unit."""
    return jnp.maximum(NEAR * frame.rtol, LEAST_NEAR)


def ways_of(
    frame: Frame,
    end: End,
    asked: Bool[Array, " margins"],
    rows: Float[Array, "walls weights"],
    numbers: Int[Array, " walls"],
) -> Ways:
    """The walls that may be met, those that held the start of the step first.

    Args:
        frame: Of the step.
        end: Its end.
        asked: The margins that may have a new one.
        rows: Directions in which units see those: see `bends`.
        numbers: Of the margin of each.
    """
    field, walls = frame.field, frame.walls
    room = len(walls.normals)

    def normal(row, number):
        """Where all that a margin bends by is one kink."""
        slope = jax.grad(Pulling(number[None], jnp.ones(1)).total(field))
        return normalized(jax.jvp(slope, (end.probe,), (row,))[1])

    def normalized(row):
        whole = two_norm(row)
        return row / jnp.where(whole > 0, whole, 1.0)

    ends = jax.vmap(normalized)(walls.after(frame.length))
    normals = jnp.concatenate([ends, jax.vmap(normal)(rows, numbers)])
    numbers = jnp.concatenate([walls.margins, numbers])
    old = jnp.append(walls.some, jnp.zeros(room, bool))
    reach = _reaches(normals, end)
    pulling = _pulling(end, asked.at[numbers].max(old))
    foot = _found(frame, end, pulling, normals, numbers, old, reach)
    return Ways(numbers, old, ~frame.sighted[numbers] & ~old, reach, foot)


def _reaches(normals, end: End) -> Float[Array, " some"]:
    return jax.vmap(lambda row: reach_of(row, end.size))(normals)


def _pulling(end: End, some: Bool[Array, " margins"]) -> Pulling:
    """These margins: those with the largest weights, if they are many."""
    dual, numbers = jax.lax.top_k(jnp.where(some, end.dual, 0.0), min(MOST, some.size))
    return Pulling(numbers.astype(int), dual)


def _found(
    frame: Frame, end: End, pulling: Pulling, normals, numbers, old, reach
) -> Foot:
    """Where the walls are, looked at from ever nearer.

    Those that held are near where they were; those that are new are seen from the end,
    or from a little beyond.
    """
    near = near_of(frame) * reach

    def look(normals, place, behind):
        directions = _apart(normals, old)
        cosine = jnp.sum(directions * normals, axis=1)
        cosine = jnp.where(cosine > 0, cosine, 1.0)
        beyond = near_of(frame) * _reaches(normals, end)
        # With nothing to compare with, each margin by itself.
        whole = jnp.isfinite(behind)[:, None] | (
            numbers[:, None] == pulling.numbers[None]
        )
        dual = jnp.where(whole, pulling.dual[None], 0.0)

        def one(dual, *line):
            there = Pulling(pulling.numbers, dual)
            return foot_of(frame.field, end.point, there, *line)

        return jax.vmap(one)(dual, directions, place / cosine, behind / cosine, beyond)

    def again(foot, given):
        share, ahead, anew = given
        seen = jnp.isfinite(foot.at)
        at, way = jnp.where(seen, foot.at, 0.0), share * near
        bracketed = old | seen
        place = jnp.where(bracketed, at + way, ahead * near)
        new = look(foot.normal, place, jnp.where(bracketed, at - way, -jnp.inf))
        better = jnp.isfinite(new.at) & ~(seen & (anew == 0))

        def chosen(a, b):
            return jnp.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b)

        told = jax.tree.map(chosen, new, foot)
        return told._replace(hidden=new.hidden | foot.hidden), ()

    none = jnp.zeros(len(normals))
    start = Foot(none + jnp.inf, none, none, old & False, old & False, normals)
    looks = [(1.0, 0.0, 0.0), (BACK / NEAR, 1.0, 0.0)]
    looks += [(share, 0.0, 1.0) for share in SHARES]
    return jax.lax.scan(again, start, jnp.asarray(looks))[0]


def _apart(normals, old) -> Float[Array, "some weights"]:
    """Directions toward each wall, of norm one, that lead no nearer to the old ones.

    So that another kink of the same sample is not seen beside it.
    """
    some = jnp.where(old[:, None], normals, 0.0)
    dual = solved(some @ some.T, some, old)
    found = jnp.where(old[:, None], dual, normals - (normals @ some.T) @ dual)
    sizes = jnp.sqrt(jnp.sum(found**2, axis=1, keepdims=True))
    return jnp.where(sizes > SAME, found / jnp.where(sizes > 0, sizes, 1.0), 0.0)


def any_bends(
    frame: Frame, end: End, asked: Bool[Array, " margins"]
) -> Bool[Array, ""]:
    """Whether some unit sees a margin that bends near the end."""
    return jax.lax.cond(
        jnp.any(asked),
        lambda: jnp.any(_scores(frame, end, asked)[0] > 0),
        lambda: jnp.zeros((), bool),
    )


def bends(
    frame: Frame, end: End, asked: Bool[Array, " margins"]
) -> tuple[Float[Array, "walls weights"], Int[Array, " walls"]]:
    """How units see margins that bend near the end, as directions; their numbers.

    At most as many as there may be walls: the nearest.
    """
    scores, rows, numbers = _scores(frame, end, asked)
    best, index = _largest(jnp.ravel(scores), len(frame.walls.normals))
    chosen, unit = jnp.divmod(index, frame.field.units.count)
    same = end.unit[None] == unit[:, None]
    rows = jnp.where(same & (best > 0)[:, None], rows[chosen], 0.0)
    for norm in (jnp.max, two_norm):  # the largest first: they may be very small
        sizes = jax.vmap(lambda row, norm=norm: norm(jnp.abs(row)))(rows)[:, None]
        rows = rows / jnp.where(sizes > 0, sizes, 1.0)
    return rows, numbers[chosen]


def pull_at(frame: Frame, end: End, point=None) -> Float[Array, " weights"]:
    """What samples pull that are seen, at the end or at another point."""
    _, pullback = jax.vjp(frame.field.margins, end.point if point is None else point)
    return pullback(jnp.where(frame.sighted, end.dual, 0.0))[0]


def _scores(
    frame: Frame, end: End, asked
) -> tuple[
    Float[Array, "some units"], Float[Array, "some weights"], Int[Array, " some"]
]:
    """How near margins bend in each unit, zero for not at all; their gradients; which.

    Those with the largest weights, if they are many; and none that is no match for what
    the others pull, by far.
    """
    field, unit = frame.field, end.unit
    units, per_sample = field.units, field.flow.per_sample
    dual = jnp.where(asked, end.dual, 0.0)
    heaviest = jnp.max(dual.reshape(-1, per_sample), axis=1)
    room = max(WALLS, ENTRIES // (unit.size * per_sample))
    _, samples = jax.lax.top_k(heaviest, min(MOST, room, heaviest.size))
    numbers = jnp.ravel(per_sample * samples[:, None] + jnp.arange(per_sample)[None])
    rows = Slopes(field, end.probe).rows(samples)

    def totals(rows):
        return units.totals(rows, unit)

    norms = units.norms(rows, unit)
    toward = rows / jnp.where(norms > 0, norms, 1.0)
    bent = totals(toward * field.curvature_each(end.probe, toward, numbers))
    way = norms / jnp.where(bent != 0, jnp.abs(bent), jnp.inf)
    reach = near_of(frame) * end.size[None]
    push = jnp.abs(totals(toward * pull_at(frame, end)[None]))
    steep = (1 + reach / jnp.maximum(way, 1e-300)) ** STEEPEST
    able = dual[numbers][:, None] * jnp.abs(bent) * reach * steep >= MATCH * push
    near = ~frame.sighted[numbers][:, None] | ((bent < 0) & (way <= reach))
    here = near & able & (bent != 0) & asked[numbers][:, None]
    score = jnp.where(here, 1 / (1 + way / end.size[None]), 0.0)
    first = jax.ops.segment_min(jnp.arange(unit.size), unit, units.count)
    some_weight, first = first < unit.size, jnp.minimum(first, unit.size - 1)
    return jnp.where(some_weight[None], score[:, first], 0.0), rows, numbers


def _largest(values: Float[Array, " some"], count: int):
    """The largest of some numbers, none of them negative, and their places.

    As by `jax.lax.top_k`, which sorts them all; -1 where there are no more.
    """

    def one(left, _):
        place = jnp.argmax(left)
        return left.at[place].set(-1.0), (left[place], place)

    return jax.lax.scan(one, values, length=count)[1]
