r"""Is a kink one, or do both its cases join smoothly? Told by trial.

On lines between random weights we look for places where u changes its sign, and go to
its zero. There the function with the gates of one side is compared with that of the
other: its value, which must be the same, and its gradient in the weights, which is the
same where the join is smooth. Whether the kink has any influence is told further along
the line, at the same gates.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array

from .lines import Lines, Trial
from .plan import can_be_smooth


LINES, MORE_LINES = 4, 32
"""As many as the second where on the first some u never changes its sign: that of a
single neuron may not."""
TIMES = 9
"""Places on each line where signs are read."""
PROBES = 4
"""Zeros of u that are looked at, for each group of kinks."""
ITERATIONS = 60
ZERO = 1e-13
"""How small u is at what counts as a zero, relative to its values around."""
ASIDE = 1e-9
"""How far from a zero of u, on its line, the gates of each side are read."""
FAR = (1e-3, 0.1)
"""How far from it the influence of the gates is measured."""
NOISE = 1e6
"""Errors of rounding are below so many units in the last place."""
SMALL = 1e-4
"""A kink makes differences of at least so much of its influence."""


class Change(NamedTuple):
    """Where some u changes its sign on a line: the kink, the line, and two times."""

    kink: int
    line: int
    low: float
    high: float


class Verdict(NamedTuple):
    """What was found at a zero of u.

    Attributes:
        jumps: Whether the value changes there.
        bends: Whether its gradient does.
        matters: Whether these gates have any influence on the value.
        groups: The groups of all gates that change there.
    """

    jumps: bool
    bends: bool
    matters: bool
    groups: frozenset[int]


def smooth_groups(trial: Trial, values: list[Array]) -> set[int]:
    """The groups of kinks whose two cases join smoothly, as far as trials tell.

    And those whose u never changes its sign in them.

    Args:
        trial: A function with kinks.
        values: Its inputs.

    Raises:
        ValueError: If a kink is a jump, or u is not finite.
    """
    names: dict[int, str] = {}
    for planned in trial.plan.steps:
        if planned.group is not None and can_be_smooth(planned.step):
            names.setdefault(planned.group, planned.step.name)
    lines = Lines(trial, values, LINES)
    if not np.all(np.isfinite(lines.look(0, 0.0))):
        raise ValueError(
            "Both sides of a kink must be finite, but for weights like these one is "
            "not. To leave entries out of a maximum, choose them by index or put a "
            "large negative number in their place, not `jnp.inf`."
        )
    if not names:
        return set()
    smooth: set[int] = set()
    together: list[tuple[int, frozenset[int]]] = []
    found = _changes(lines, sorted(names))
    if not all(found.values()):
        lines = Lines(trial, values, MORE_LINES)
        found = _changes(lines, sorted(names))
    for group, changes in found.items():
        if not changes:  # a guard, as against division by zero: it is as it is
            smooth.add(group)
            continue
        seen = [_judge(lines, change) for change in changes]
        told = [verdict for verdict in seen if verdict is not None]
        if any(verdict.jumps for verdict in told):
            raise ValueError(
                f"The function jumps where the two sides of `{names[group]}` are "
                "equal, and a gradient flow has no meaning there. Let both cases of a "
                "`jnp.where` agree where its condition changes."
            )
        told = [verdict for verdict in told if verdict.matters]
        if told and not any(verdict.bends for verdict in told):
            smooth.add(group)
            together += [(group, verdict.groups) for verdict in told]
    # Kinks that cancel each other are all of them gated, or none of them.
    while True:
        kept = smooth - {group for group, others in together if others - smooth}
        if kept == smooth:
            return smooth
        smooth = kept


def _changes(lines: Lines, groups: list[int]) -> dict[int, list[Change]]:
    """Some changes of sign of each group, spread over kinks and lines."""
    rng = np.random.default_rng(2)
    times = np.linspace(0.0, 1.0, TIMES).tolist()
    signs = np.stack(
        [[lines.look(line, t) > 0 for t in times] for line in range(len(lines.lengths))]
    )
    changes = signs[:, 1:] != signs[:, :-1]
    found = {}
    for group in groups:
        (kinks,) = np.nonzero(lines.groups == group)
        each_line = [
            rng.permutation(np.argwhere(changes[line][:, kinks])).tolist()
            for line in range(len(signs))
        ]
        found[group] = [
            Change(int(kinks[kink]), line, times[time], times[time + 1])
            for turn in range(PROBES)
            for line, some in enumerate(each_line)
            for time, kink in some[turn : turn + 1]
        ][:PROBES]
    return found


def _judge(lines: Lines, change: Change) -> Verdict | None:
    """What happens at a change of sign; `None` if that cannot be told."""
    kink, line = change.kink, change.line
    t = _zero(lines, change)
    if t is None:
        return None
    minus, plus = lines.look(line, t - ASIDE) > 0, lines.look(line, t + ASIDE) > 0
    if minus[kink] == plus[kink]:
        return None
    before, slope_before = lines.slope(line, t, minus)
    after, slope_after = lines.slope(line, t, plus)
    influence, rate = 0.0, 0.0
    for far in reversed(FAR):
        there = [lines.slope(line, t + far, gates)[0] for gates in (minus, plus)]
        if not np.all(np.isfinite(there)):
            continue  # a case may overflow far on the other side
        change_there = _distance(*there)
        if change_there > max(_noise(value) for value in there):
            influence, rate = change_there, change_there / far
    # Each array of weights has a size of its own.
    turn = sum(
        (length * float(np.linalg.norm(np.subtract(a, b)))) ** 2
        for length, a, b in zip(
            lines.lengths[line], slope_before, slope_after, strict=True
        )
    )
    if not np.all(np.isfinite([turn, _noise(before), _noise(after)])):
        return None
    bends = np.sqrt(turn) > SMALL * rate
    least = max(SMALL * influence, _noise(before))
    jumps = _distance(before, after) > least
    if bends and not jumps and np.sum(minus != plus) > 1:
        # Other kinks at the same place must not hide a jump of this one.
        alone = np.where(np.arange(len(minus)) == kink, plus, minus)
        jumps = _distance(before, lines.slope(line, t, alone)[0]) > least
    groups = frozenset(lines.groups[minus != plus].tolist())
    return Verdict(jumps, bool(bends), influence > 0, groups)


def _zero(lines: Lines, change: Change) -> float | None:
    """A time at which u is zero, by the Illinois method; `None` if it is nowhere."""
    kink, line, low, high = change
    below, above = lines.look(line, low)[kink], lines.look(line, high)[kink]
    enough = ZERO * max(abs(below), abs(above))
    side = 0
    if not np.isfinite(enough):
        return None
    for _ in range(ITERATIONS):
        t = (low * above - high * below) / (above - below)
        u = lines.look(line, t)[kink]
        if not np.isfinite(u):
            return None
        if abs(u) <= enough:
            return t
        if (u > 0) == (above > 0):
            high, above = t, u
            below, side = (below / 2 if side == 1 else below), 1
        else:
            low, below = t, u
            above, side = (above / 2 if side == -1 else above), -1
    return None


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.max(np.abs(a - b), initial=0.0))


def _noise(value: np.ndarray) -> float:
    """More than the errors of rounding of a value."""
    return NOISE * float(np.finfo(value.dtype).eps * np.max(np.abs(value), initial=0.0))
