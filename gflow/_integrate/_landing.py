"""The last step of a solve, cut exactly where the flow meets its end."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .. import _log_time
from .._field import Field
from .._log_time import StepScalars
from .._places import first_passed
from .._steps import Sample, Steps, join, points_within, weights_within, within
from .._types import Scalar
from .._until import LEVELS, Levels, Until


LOOKS = 33
"""At how many places of a step a level is looked for."""


def share_before(levels: Levels, log_t: Scalar, scalars: StepScalars) -> Scalar:
    """After which share of a step it meets the first of the levels, roughly.

    Args:
        levels: At least one of them is met at the end, or `converged` is.
        log_t: The logarithm of time before the step.
        scalars: Those of the step.
    """

    def values(share):
        log_radius = scalars.log_radius_at(share)
        there = _log_time.log_add(log_t, scalars.log_elapsed(share))
        log_scale = scalars.degree * log_radius
        return jnp.stack([there, log_radius, log_scale, -scalars.log_loss(share)])

    rise, goal = jax.vmap(values)(np.linspace(0, 1, LOOKS)), levels.values[None, :-1]
    passed = (rise >= goal) & (goal < jnp.inf)
    after = jnp.maximum(jnp.argmax(passed, axis=0), 1)
    low, high = (jnp.take_along_axis(rise, after[None] - k, axis=0)[0] for k in (1, 0))
    inside = jnp.where(jnp.isfinite(low), (goal[0] - low) / (high - low), 1.0)
    share = (after - 1 + jnp.clip(inside, 0.0, 1.0)) / (LOOKS - 1)
    return jnp.min(jnp.where(passed[-1], share, 1.0))


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
        log_loss=np.full(1, level) if name == "log_loss" else end.log_loss,
        weights=np.stack(
            [weights_within(field, before, last, f) for f in quarters], axis=1
        ),
    )
