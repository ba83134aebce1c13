"""How far it is to the end of a solve where a flow rests."""

import math

import jax
import numpy as np

from .._field import LOG_HUGE
from .._until import Until
from ._run import Run


def way_to(until: Until, run: Run) -> float:
    """How far it is to the end, in the clock of the step, where a flow rests.

    With a clock that goes on as it does, and a radius that grows so: infinite if
    neither a time nor a radius is asked for.
    """
    field, carry, ways = run.field, run.carry, [math.inf]
    growth = float(field.coordinates.growth(carry.point, carry.gradient))
    goals = [until.log_radius]
    if until.log_margin_scale is not None:
        goals.append(until.log_margin_scale / float(field.degree))
    if growth > 0:
        last = float(carry.log_whole)
        ways += [(goal - last) / growth for goal in goals if goal is not None]
    if until.log_t is not None:
        log_way = until.log_t - _log_pace(run)
        ways.append(math.exp(log_way) if log_way < LOG_HUGE else math.inf)
    return min(ways)


def log_t_in(way: float, run: Run) -> float:
    """The logarithm of time so far on, if the clock of the step goes on as it does."""
    pace = _log_pace(run)
    if way <= 0 or pace == -math.inf:
        return float(run.carry.log_t)
    return float(np.logaddexp(float(run.carry.log_t), math.log(way) + pace))


def _log_pace(run: Run) -> float:
    """The logarithm of time per clock of the step; no time passes before the first."""
    if not run.steps:
        return -math.inf
    last = jax.tree.map(lambda a: a[-1:], run.steps[-1].scalars)
    return float(last.log_rate(np.ones((1, 1)))[0, 0])
