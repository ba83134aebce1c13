"""The last step of a solve, cut exactly where the flow meets its end."""

import jax
import numpy as np
from jaxtyping import Float

from .. import _log_time
from .._field import Field
from .._places import first_passed
from .._steps import Sample, Steps, join, points_within, weights_within, within
from .._until import LEVELS, Until


LANDED = 0.01, 0.95
"""A step that meets a level between these shares of it is repeated, only that long:
between its ends the curve has the error of the dense output, which is larger."""

BEYOND = 1e-3
"""By which share it is longer, to reach the level in spite of its own error."""


def length_to_land(start: Sample, tried: Steps, until: Until, length: float) -> float:
    """The length of the step to take, in place of one that meets a level.

    Args:
        start: The sample before it.
        tried: The step, one alone.
        until: The levels, of which it meets one.
        length: Of it.
    """
    before = jax.tree.map(lambda a: np.asarray(a)[None], start)
    met = _first_level(before, tried, until)
    share = 1.0 if met is None else float(met[1][0])
    return length * share * (1 + BEYOND) if LANDED[0] < share < LANDED[1] else length


def land(
    field: Field, start: Sample, steps: Steps, until: Until
) -> tuple[Steps, str | None]:
    """The steps with the last one cut where it first meets a level, and which one.

    Args:
        field: The flow.
        start: The sample before them.
        steps: The last steps; only the end of the last one may lie past a level.
        until: The levels. `converged` is not landed on.

    Returns:
        The steps, and the name of the level; `None` if the last step passes none.
    """
    before = jax.tree.map(lambda a: a[-2:-1], join(start, steps))
    last = jax.tree.map(lambda a: a[-1:], steps)
    met = _first_level(before, last, until)
    if met is None:
        return steps, None
    name, fraction = met
    cut = _first_part(field, before, last, fraction, name, getattr(until, name))
    return jax.tree.map(lambda a, b: np.concatenate([a[:-1], b]), steps, cut), name


@np.errstate(invalid="ignore")  # past log t = 1e308 time is infinite
def _first_level(
    before: Sample, last: Steps, until: Until
) -> tuple[str, Float[np.ndarray, " 1"]] | None:
    """The level that a step meets first, and after which fraction of it."""
    scalars = last.scalars

    def value(name, fraction):
        if name == "log_t":
            return _log_time.log_add(before.log_t, scalars.log_elapsed(fraction))
        _, log_radius, log_loss = points_within(before, last, fraction)
        whole = fraction == 1  # what is stored, to the last bit
        if name == "log_loss":
            return -np.where(whole, last.log_loss, log_loss)
        log_radius = np.where(whole, last.log_radius, log_radius)
        return log_radius if name == "log_radius" else scalars.degree * log_radius

    passed = {}
    for name in LEVELS[:-1]:
        level = getattr(until, name)
        if level is None:
            continue
        level = -level if name == "log_loss" else level
        if value(name, np.ones(1)) >= level:
            passed[name] = first_passed(
                lambda fraction: np.arcsinh(value(name, fraction)) - np.arcsinh(level)
            )
    if not passed:
        return None
    return min(passed.items(), key=lambda item: item[1])


@np.errstate(invalid="ignore")
def _first_part(
    field: Field, before: Sample, last: Steps, fraction, name: str, level: float
) -> Steps:
    """The first fraction of a step as a step, whose end is on a level to the bit."""
    scalars, end = last.scalars, within(field, before, last, fraction)
    log_radius = end.point[:, -1]
    if name in ("log_radius", "log_margin_scale"):
        log_radius = np.full(1, level)
        if name == "log_margin_scale":
            log_radius = log_radius / scalars.degree
    nodes = np.concatenate([before.point[:, None, :-1], last.nodes], axis=1)
    quarters = [fraction * n for n in _log_time.NODES[1:]]
    log_t = np.full(1, level) if name == "log_t" else end.log_t
    return Steps(
        nodes=np.stack([_log_time.interpolate(nodes, f) for f in quarters], axis=1),
        rates=last.rates * fraction,
        growth=last.growth * fraction,
        scalars=scalars.first(fraction),
        tau=field.clock.tau_after(before.tau, log_t, scalars.log_tau_elapsed(fraction)),
        log_t=log_t,
        log_radius=log_radius,
        # Where time is infinite the loss stands still.
        log_loss=np.full(1, level)
        if name == "log_loss"
        else np.where(np.isnan(end.log_loss), last.log_loss, end.log_loss),
        weights=np.stack(
            [weights_within(field, before, last, f) for f in quarters], axis=1
        ),
    )
