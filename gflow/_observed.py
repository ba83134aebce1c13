"""Functions of a point along a solve: what it keeps of them, and where it ends."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from scipy.optimize import brentq

from ._field import Field
from ._observables import Observables
from ._results import RESULTS
from ._steps import Sample, Steps, join, within
from ._trajectory import trajectory
from ._turned import Turns, within_steps


def observed(field: Field, samples: Sample, turns: Turns, fn: Callable) -> Observables:
    """What a function makes of the points at some samples, with their turns."""
    values = _along(field, samples, turns, fn)
    usable = values if isinstance(values, dict) else {"": values}
    if not usable or not all(eqx.is_array_like(value) for value in usable.values()):
        raise ValueError(
            "`save.observables` must return an array, or a dictionary of arrays, but "
            f"returned {values!r}."
        )
    return Observables(
        tau=np.asarray(samples.tau),
        log_t=np.asarray(samples.log_t),
        log_radius=np.asarray(samples.point[:, -1]),
        log_loss=np.asarray(samples.log_loss),
        values=jax.tree.map(np.asarray, values),
    )


def sides(field: Field, samples: Sample, turns: Turns, event: Callable) -> np.ndarray:
    """The sign of a function at the points of some samples, with their turns."""
    values = np.asarray(_along(field, samples, turns, event))
    if values.dtype.kind not in "fiu" or values.shape != (len(samples.tau),):
        raise ValueError(
            "`until.event` must return one number, whose sign changes where the solve "
            f"is to stop, but returned {values.dtype} of shape {values.shape[1:]}."
        )
    if not np.all(np.isfinite(values)):
        log_t = np.asarray(samples.log_t)[~np.isfinite(values)]
        raise ValueError(
            "`until.event` must return a finite number at each point, but returned "
            f"{values[~np.isfinite(values)][:3].tolist()} at log t = "
            f"{log_t[:3].tolist()}. (At the start log t is -inf.)"
        )
    return np.sign(values)


def first_crossing(
    field: Field,
    before: Sample,
    steps: Steps,
    turns: Turns,
    event: Callable,
    side: float,
) -> tuple[float | None, float]:
    """Where a function first passes zero: log t, or `None`; and its sign at the end.

    Args:
        field: The flow.
        before: Where the steps begin.
        steps: Of the flow.
        turns: Of its gates, up to their ends.
        event: The function of a point.
        side: Its sign before, zero if it has had none.
    """
    ends = join(before, steps)
    found = sides(field, ends, turns, event)
    side = side or found[0]
    for k, new in enumerate(found[1:]):
        if side * new < 0 or (side != 0 and new == 0):
            start, step = (
                jax.tree.map(lambda a, k=k: a[k : k + 1], part)
                for part in (ends, steps)
            )

            def value(fraction, start=start, step=step):
                here = within(field, start, step, np.full(1, fraction))
                inner = within_steps(field, here, turns)
                return float(np.asarray(_along(field, here, inner, event))[0])

            place = 1.0 if new == 0 else _root(value, side)
            here = within(field, start, step, np.full(1, place))
            return float(here.log_t[0]), side
        side = new or side
    return None, side


def _root(value: Callable[[float], float], side: float) -> float:
    """Where on a step a function is zero; its sign at the end is another."""

    def signed(fraction):  # by its start the dense output is as it was
        return side if fraction == 0 else value(fraction)

    if signed(1.0) * side > 0:  # rounding
        return 1.0
    return float(np.asarray(brentq(signed, 0.0, 1.0, xtol=1e-14)))


def _along(field: Field, samples: Sample, turns: Turns, fn: Callable) -> Any:
    """A function of a point at each sample."""
    return trajectory(field, samples, RESULTS.successful, {}, None, turns).map(fn)
