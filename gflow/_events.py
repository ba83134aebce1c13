r"""Kinks that a step has passed: where, what it missed, and how the flow goes on.

A step runs at frozen gates. A gate that is wrong at its end is wrong since the time at
which the function $u$ of its kink crossed zero. If what the right gate would have done
since then is below the tolerance the step is kept; else it is repeated, to end at the
first event. Then Filippov's rule says which gates are on, which are off, and which
kinks the flow slides along (see `_filippov`).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from ._carry import Carry, strong
from ._compile import compiled
from ._field import Field
from ._run import Run
from ._sides import Gates
from ._slides import (
    full_dual,
    jump_rows,
    kink_values,
    multipliers,
    one_kink,
    with_gates,
    wrong_gates,
)
from ._steps import Sample, Steps, within
from ._turns import padded, turn


LOOKS = np.linspace(0, 1, 9)
"""Where on a step kinks are looked at first."""

ROUNDS = 40
"""Steps of the search for the time of an event; it takes about eight."""

CLOSE = 1e-12
"""How well the time of an event is found, in shares of the step."""

MISSED, SHARP = 0.3, 3.0
"""What a step may miss for want of the right gates, in units of the tolerance; and one
that ends at its first event."""

LATE, EARLY = 0.999, 1e-6
"""Events after the first share of a step are at its end; before the second, at its
start."""

SHORTER = 0.1
"""What is left of a step whose first event is at its start, and gates stay."""

TURNS = 20
"""How often gates are set anew at one place; then steps become shorter, until what they
miss is below the tolerance."""

PAST = 1e-9
"""By which share a step that ends at an event goes past it."""


class Events(NamedTuple):
    """Kinks whose gates are wrong on a step.

    Attributes:
        numbers: Of the kinks.
        fractions: Of the step, from when on.
        slack: By how much each gate is off then, at most.
        last: Whether it is wrong at the end, too.
        above: Whether a multiplier has left [0, 1] above.
    """

    numbers: Int[np.ndarray, " some"]
    fractions: Float[np.ndarray, " some"]
    slack: Float[np.ndarray, " some"]
    last: Bool[np.ndarray, " some"]
    above: Bool[np.ndarray, " some"]

    def of(self, some: Bool[np.ndarray, " some"]) -> "Events":
        """Some of them."""
        return Events(*(part[some] for part in self))

    def turn(self, field: Field, carry: Carry) -> Carry:
        """Where the flow is, with gates that it can go on with."""
        return turn(field, carry, self.numbers, self.above)


def settle(run: Run, before: Carry, after: Carry, row: Steps, start: Sample):
    """The carry to go on with, and whether the step is kept.

    Args:
        run: The solve.
        before: Where the step began.
        after: Where it ended, with gates that are wrong or multipliers out of [0, 1].
        row: The step, with a leading axis of one.
        start: The sample before it, with such an axis.
    """
    field = with_gates(run.field, after.gates)
    curve = _Curve(field, start, row)
    events = _find(field, curve)
    if events.numbers.size == 0:
        return _go_on(after, after.gates), True
    first = float(np.min(events.fractions))
    run.turned_at, run.turns = (
        (int(after.accepted), run.turns + 1)
        if run.turned_at == int(after.accepted)
        else (int(after.accepted), 0)
    )
    if first < EARLY and run.turns < TURNS:
        turned = events.of(events.fractions < EARLY).turn(field, before)
        if not alike(turned.gates, before.gates):
            length = after.tried * turned.length / before.length
            return _rejected(turned, after, length), False
    first = max(first, SHORTER) if first < EARLY else first
    most = SHARP if first >= LATE else MISSED
    if not _missed(field, curve, after, events) <= most * run.rtol:
        length = after.tried * first * (1 + PAST)
        cut = eqx.tree_at(
            lambda c: c.resume, before, jnp.maximum(before.resume, after.tried)
        )
        return _rejected(cut, after, length), False
    turned = after
    if np.any(events.last):
        turned = events.of(events.last).turn(field, after)
    return _go_on(turned, turned.gates), True


def alike(one: Gates, other: Gates) -> bool:
    """Whether two sets of gates are the same, whatever room there is."""
    return bool(jnp.array_equal(one.on, other.on)) and set(
        np.asarray(one.slides).tolist()
    ) == set(np.asarray(other.slides).tolist())


def _go_on(carry: Carry, gates: Gates) -> Carry:
    return strong(
        eqx.tree_at(lambda c: (c.status, c.gates), carry, (carry.reached, gates))
    )


def _rejected(carry: Carry, after: Carry, length) -> Carry:
    """The start of a step again, for one of another length."""
    running = jnp.zeros((), int)
    return strong(
        eqx.tree_at(
            lambda c: (c.length, c.rejected, c.gradients, c.status),
            carry,
            (length * jnp.ones(()), carry.rejected + 1, after.gradients, running),
        )
    )


class _Curve:
    """The dense output of one step, as points of the field."""

    def __init__(self, field: Field, start: Sample, row: Steps):
        self.field, self.start, self.row = field, start, row

    def __call__(self, fractions):
        """Points, log-radii and dual weights after these fractions."""
        count = len(fractions)

        def many(tree):
            return jax.tree.map(lambda a: np.repeat(np.asarray(a), count, 0), tree)

        found = within(self.field, many(self.start), many(self.row), fractions)
        points, log_radius = found.point[:, :-1], found.point[:, -1]
        if not self.field.polar:
            points = points * np.exp(log_radius)[:, None]
            log_radius = np.zeros(count)
        return points, log_radius, found.weights


def _find(field: Field, curve: _Curve) -> Events:
    """The events of a step, each after the fraction at which its gate went wrong."""
    values, s, slack, wrong = map(np.asarray, compiled(_survey)(field, *curve(LOOKS)))
    numbers = np.flatnonzero(np.any(wrong[1:], axis=0))
    on = np.asarray(field.gates.on).ravel()[numbers]
    sides = np.where(on, 1.0, -1.0)
    right = sides * values.reshape(len(LOOKS), -1)[:, numbers]

    def crossing(fractions, some):
        points, _, _ = curve(fractions)
        which = padded(numbers[some], -1)
        found = compiled(_values_at)(field, padded(points), which)
        return sides[some] * np.asarray(found)[: len(some)]

    crossed = _from(right, crossing)
    slides = np.asarray(field.gates.slides)
    room = slack + np.minimum(s, 1 - s)
    left = np.flatnonzero((room[-1] < 0) & (slides >= 0)) if slides.size else []

    def leaving(fractions, some):
        curves = (padded(a) for a in curve(fractions))
        found, extra = map(np.asarray, compiled(_multipliers_at)(field, *curves))
        rooms = (extra + np.minimum(found, 1 - found))[: len(some)]
        return rooms[np.arange(len(some)), left[some]]

    gone = _from(room[:, left], leaving)
    return Events(
        np.concatenate([numbers, slides[left]]).astype(int),
        np.concatenate([crossed, gone]),
        np.concatenate([np.ones(len(numbers)), -room[-1, left]]),
        np.concatenate([wrong[-1, numbers], np.ones(len(left), bool)]),
        np.concatenate([np.zeros(len(numbers), bool), s[-1, left] > 0.5]),
    )


def _from(values: Float[np.ndarray, "looks some"], at) -> np.ndarray:
    """From which fraction on each value is negative, by regula falsi (Illinois)."""
    count = values.shape[1]
    if count == 0:
        return np.zeros(0)
    # At the start a kink that has just been passed may be on its old side by rounding.
    some, after = np.arange(count), 1 + np.argmax(values[1:] < 0, axis=0)
    low, below, above = LOOKS[after - 1], values[after - 1, some], values[after, some]
    inside = below > 0
    high = np.where(inside, LOOKS[after], low)
    left, side = np.flatnonzero(inside), np.zeros(count)
    for _ in range(ROUNDS):
        if left.size == 0:
            break
        part = below[left] / (below[left] - above[left])
        middle = low[left] + np.clip(part, 1e-3, 1 - 1e-3) * (high[left] - low[left])
        found = at(middle, left)
        early = found > 0
        # The end that stays a second time counts half.
        old_below = below[left] * np.where(side[left] < 0, 0.5, 1.0)
        old_above = above[left] * np.where(side[left] > 0, 0.5, 1.0)
        below[left] = np.where(early, found, old_below)
        above[left] = np.where(early, old_above, found)
        low[left] = np.where(early, middle, low[left])
        high[left] = np.where(early, high[left], middle)
        side[left] = np.where(early, 1, -1)
        left = left[(high[left] - low[left] > CLOSE) & (found != 0)]
    return high


def _missed(field: Field, curve: _Curve, after: Carry, events: Events) -> float:
    """What the wrong gates have done to the end of a step, unit by unit."""
    left = float(curve.row.scalars.length[0] * np.exp(-after.growth))
    share = left * (1 - events.fractions) * events.slack
    return float(
        compiled(_missing)(
            field, after.point, after.log_radius, after.margins, after.dual,
            padded(events.numbers, -1), padded(share),
        )
    )  # fmt: skip


def _survey(field: Field, points, log_radii, duals):
    """Kink functions and multipliers on a step, and the gates wrong at its end."""

    def one(here):
        point, log_radius, dual = here
        margins = field.margins(point)
        whole = full_dual(field, margins, log_radius, dual)
        return kink_values(field, point), *multipliers(field, point, whole)

    found = jax.lax.map(one, (points, log_radii, duals))
    return *found, jax.lax.map(lambda p: wrong_gates(field, p).ravel(), points)


def _values_at(field: Field, points, numbers):
    numbers = jnp.maximum(numbers, 0)
    return jax.vmap(one_kink, (None, 0, 0))(field, points, numbers)


def _multipliers_at(field: Field, points, log_radii, duals):
    def one(point, log_radius, dual):
        margins = field.margins(point)
        return multipliers(field, point, full_dual(field, margins, log_radius, dual))

    return jax.vmap(one)(points, log_radii, duals)


def _missing(field: Field, point, log_radius, margins, dual, numbers, shares):
    whole = full_dual(field, margins, log_radius, dual)
    size = (numbers.size, 1)
    jumps = jump_rows(field, jnp.tile(point, size), jnp.tile(whole, size), numbers)
    unit, _ = field.units.assign(point)
    norms = jax.vmap(lambda row: field.units.unit_norms(row, unit))(jumps)
    lost = jnp.abs(shares) @ norms
    sizes = field.units.unit_norms(point, unit)
    lost = jnp.where(lost > 0, lost / jnp.where(sizes > 0, sizes, 1e-300), 0.0)
    return jnp.sqrt(jnp.sum(lost**2) / field.units.populated(unit))
