"""The last step of a solve, cut exactly where the flow meets its end."""

import jax
import numpy as np

from . import _log_time
from ._field import Field
from ._steps import Sample, Steps, join, within
from ._until import LEVELS, Until


def land(
    field: Field, start: Sample, steps: Steps, until: Until
) -> tuple[Steps, str | None]:
    """The steps with the last one cut where it first meets a level, and which one.

    Args:
        field: The flow.
        start: The first sample.
        steps: All steps; only the end of the last one may lie past a level.
        until: The levels. `converged` is not landed on.

    Returns:
        The steps, and the name of the level; `None` if the last step passes none.
    """
    ends = join(start, steps)
    before, after = (
        jax.tree.map(lambda a: a[k : k + 1 or None], ends) for k in (-2, -1)
    )
    last = jax.tree.map(lambda a: a[-1:], steps)
    scalars = last.scalars

    def value(name, fraction):
        if name == "log_t":
            return _log_time.log_add(before.log_t, scalars.log_elapsed(fraction))
        if name == "log_loss":
            return -scalars.log_loss(fraction)
        log_radius = scalars.log_radius_at(fraction)
        return log_radius if name == "log_radius" else scalars.degree * log_radius

    passed = {}
    for name in LEVELS[:-1]:
        level = getattr(until, name)
        if level is None:
            continue
        level = -level if name == "log_loss" else level
        if value(name, np.ones(1)) >= level:
            passed[name] = _log_time.first_passed(
                lambda fraction: value(name, fraction) >= level, 1
            )
    if not passed:
        return steps, None
    name = min(passed, key=passed.get)
    fraction, level = passed[name], getattr(until, name)

    end = within(field, before, after, last, fraction)
    log_radius = end.point[:, -1]
    if name in ("log_radius", "log_margin_scale"):
        log_radius = np.full(1, level)
        if name == "log_margin_scale":
            log_radius = log_radius / scalars.degree
    start = np.concatenate([before.point[:, None, :-1], last.nodes], axis=1)
    log_t = np.full(1, level) if name == "log_t" else end.log_t
    cut = Steps(
        nodes=np.stack(
            [_log_time.interpolate(start, fraction * n) for n in _log_time.NODES[1:]],
            axis=1,
        ),
        rates=last.rates * fraction,
        growth=last.growth * fraction,
        scalars=scalars.first(fraction),
        tau=_log_time.tau_at(
            field.clock, before.tau, log_t, scalars.log_tau_elapsed(fraction)
        ),
        log_t=log_t,
        log_radius=log_radius,
        log_loss=np.full(1, level) if name == "log_loss" else end.log_loss,
        weights=end.weights,
    )
    return jax.tree.map(lambda a, b: np.concatenate([a[:-1], b]), steps, cut), name
