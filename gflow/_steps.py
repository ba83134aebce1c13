"""Accepted steps: what is kept of each, and the curve inside of it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from . import _log_time
from ._coordinates import two_norm
from ._field import Field
from ._frame import Frame
from ._log_time import StepScalars
from ._places import fractions_at
from ._types import AnyArray, Scalar
from .clocks import Speeds


FRACTIONS = np.unique(np.concatenate([_log_time.NODES, _log_time.RATE_NODES]))
"""The fractions of a step at which it is looked at: its quarters and its sixths."""

QUARTERS = np.searchsorted(FRACTIONS, _log_time.NODES)
SIXTHS = np.searchsorted(FRACTIONS, _log_time.RATE_NODES)


class Steps(eqx.Module):
    r"""Accepted steps, each with the dense output of its solver.

    A step moves in its own frame: after a fraction $f$ of it the direction is that of
    $e^{\sigma f} v(f)$, with $v$ the quartic through the start and the `nodes`, and the
    log-radius $\rho_0 + g f + \log |e^{\sigma f} v(f)|$.

    Attributes:
        nodes: $v$ at the quarters of each step, for a start of norm one.
        rates: $\sigma$, the rate of each weight times the length of the step.
        growth: $g$, the rate of the radius times the length of the step.
        scalars: Radius, loss and the rate of physical time on each step.
        tau: The clock at the end.
        log_t: The logarithm of physical time at the end.
        log_radius: The log-radius at the end.
        log_loss: The logarithm of the mean loss at the end.
        weights: The weights $q$ at the quarters.
    """

    nodes: Float[AnyArray, "steps 4 weights"]
    rates: Float[AnyArray, "steps weights"]
    growth: Float[AnyArray, " steps"]
    scalars: StepScalars
    tau: Float[AnyArray, " steps"]
    log_t: Float[AnyArray, " steps"]
    log_radius: Float[AnyArray, " steps"]
    log_loss: Float[AnyArray, " steps"]
    weights: Float[AnyArray, "steps 4 samples"]

    def ends(self) -> Float[AnyArray, "steps weights+1"]:
        """Direction and log-radius at the end of each step."""
        point = np.exp(self.rates) * self.nodes[:, -1]
        direction = point / np.linalg.norm(point, axis=1, keepdims=True)
        return np.concatenate([direction, np.asarray(self.log_radius)[:, None]], axis=1)


class Sample(eqx.Module):
    """One point of a curve."""

    tau: Float[AnyArray, "*times"]
    log_t: Float[AnyArray, "*times"]
    point: Float[AnyArray, "*times weights+1"]
    log_loss: Float[AnyArray, "*times"]
    weights: Float[AnyArray, "*times samples"]


def record(
    frame: Frame,
    length: Scalar,
    coordinates: Float[Array, "9 weights"],
    on: Bool[Array, "9 samples kinks"],
    tau: Scalar,
    log_t: Scalar,
    duals: Float[Array, "4 margins"],
) -> tuple[Steps, Float[Array, "7 margins"]]:
    """One step as a trajectory keeps it, and the margins at its sixths.

    Args:
        frame: The coordinates of the step.
        length: Of the step.
        coordinates: At the `FRACTIONS`.
        on: The gates there.
        tau: The clock before it.
        log_t: The logarithm of time before it.
        duals: The dual weights at its quarters.
    """
    field = frame.field
    times = length * _log_time.RATE_NODES
    log_radius, log_rate, log_loss, log_tau_rate, margins = jax.vmap(
        lambda s, v, slope, on: _rates(frame, on, s, v, slope / length)
    )(
        times,
        coordinates[SIXTHS],
        _log_time.slopes(coordinates[QUARTERS]),
        on[SIXTHS],
    )
    scalars = _log_time.step_scalars(
        field, length, log_radius, log_rate, log_loss, log_tau_rate
    )
    whole = jnp.ones(())
    log_t = _log_time.log_add(log_t, scalars.log_elapsed(whole))
    step = Steps(
        nodes=coordinates[QUARTERS[1:]] / two_norm(frame.start),
        rates=frame.sigma * length,
        growth=frame.growth * length,
        scalars=scalars,
        tau=field.clock.tau_after(tau, log_t, scalars.log_tau_elapsed(whole)),
        log_t=log_t,
        log_radius=log_radius[-1],
        log_loss=log_loss[-1],
        weights=field.duals.normalized(duals),
    )
    return step, margins


def _rates(frame: Frame, on, s: Scalar, coordinates, slope):
    """Log-radius, the logarithms of the rates of time, loss and clock, and margins."""
    field = eqx.tree_at(lambda f: f.gates.on, frame.field, on)
    point = frame.point(s, coordinates)
    whole = two_norm(point)
    log_radius = frame.log_radius_at(s) + jnp.log(whole)
    unit, gauge = field.coordinates.back(point), field.coordinates.beside(log_radius)
    margins = field.margins(unit)
    # A step is blind to what did not count at its start, and so is its loss.
    known = (
        jnp.where(frame.sighted, margins, frame.margins) if field.walled else margins
    )
    log_slope, log_loss = field.log_slope_and_loss(known, gauge, frame.seen)
    log_growth = frame.log_growth(point)
    own_slope = -field.coordinates.growth_power * log_radius
    # By positions: late, weights that follow from margins have no digits.
    motion = frame.rate * point + frame.point(s, slope)
    log_length = jnp.log(jnp.maximum(field.norm(motion), 1e-290))
    log_length = log_length + frame.log_radius_at(s) + log_growth
    speeds = Speeds(log_radius, log_loss, own_slope - log_slope, own_slope, log_length)
    log_tau_rate = field.clock.log_rate(speeds) - log_growth
    return log_radius, -log_slope - log_growth, log_loss, log_tau_rate, margins


def join(start: Sample, steps: Steps) -> Sample:
    """The start and the end of each step, stacked on the host."""
    last = steps.weights[:, -1]
    ends = Sample(steps.tau, steps.log_t, steps.ends(), steps.log_loss, last)
    return jax.tree.map(
        lambda first, rest: np.concatenate([np.asarray(first)[None], rest]), start, ends
    )


def sample(
    field: Field, start: Sample, steps: Steps, name: str, times: np.ndarray
) -> Sample:
    """The curve at given values of `tau` or `log_t`, which must lie on it."""
    ends = join(start, steps)
    axis = getattr(ends, name)
    # Where a clock stands still for good, of the points of one time it is the last.
    index = np.searchsorted(axis, times, side="right") - 1
    index = np.clip(index - (axis[index] == times), 0, len(axis) - 2)
    before, after = (jax.tree.map(lambda a: a[index + k], ends) for k in (0, 1))
    log_t = times if name == "log_t" else field.clock.log_t_at(times)
    part = jax.tree.map(lambda a: a[index], steps)

    def log_rate(fraction, some):
        scalars = jax.tree.map(lambda a: a[some], part.scalars)
        rate = scalars.log_tau_rate if log_t is None else scalars.log_rate
        return rate(fraction) + np.log(scalars.length)[:, None]

    with np.errstate(divide="ignore", invalid="ignore"):
        if log_t is not None:
            wanted = log_t + np.log1p(-np.exp(before.log_t - log_t))
        else:
            wanted = np.log(np.maximum(times - before.tau, 0.0))
    fraction = fractions_at(log_rate, wanted)
    fraction = np.where(times == getattr(before, name), 0.0, fraction)
    fraction = np.where(times == getattr(after, name), 1.0, fraction)
    found = within(field, before, part, fraction)
    return eqx.tree_at(lambda s: getattr(s, name), found, times)


def refine(field: Field, start: Sample, steps: Steps, parts: int) -> Sample:
    """The curve at the ends of equal parts of each step."""
    ends = join(start, steps)
    before = jax.tree.map(lambda a: a[:-1], ends)
    count = len(ends.tau) - 1
    inner = [
        within(field, before, steps, np.full(count, k / parts)) for k in range(1, parts)
    ]

    def woven(ends, *inner):
        rows = np.stack([ends[:-1], *inner], axis=1)
        return np.concatenate([rows.reshape(-1, *ends.shape[1:]), ends[-1:]])

    return jax.tree.map(woven, ends, *inner)


def weights_within(field: Field, before: Sample, steps: Steps, fraction):
    """The weights q at a fraction of each step: positive, with their sum."""
    nodes = np.concatenate([before.weights[:, None], steps.weights], axis=1)
    found = field.duals.admitted(_log_time.interpolate(nodes, fraction))
    return field.duals.normalized(found)


def points_within(before: Sample, steps: Steps, fraction):
    """Directions, log-radii and log-losses at a fraction of each step."""
    values = np.concatenate([before.point[:, None, :-1], steps.nodes], axis=1)
    point = np.exp(steps.rates * fraction[:, None])
    point = point * _log_time.interpolate(values, fraction)
    norm = np.linalg.norm(point, axis=1)
    log_radius = before.point[:, -1] + steps.growth * fraction + np.log(norm)
    # At the ends what is stored comes back to the last bit.
    inside = (fraction > 0) & (fraction < 1)
    rho = np.where(inside, log_radius, steps.scalars.log_radius_at(fraction))
    return point / norm[:, None], log_radius, steps.scalars.log_loss(fraction, rho)


def within(field: Field, before: Sample, steps: Steps, fraction) -> Sample:
    """The curve at a fraction of each step."""
    direction, log_radius, log_loss = points_within(before, steps, fraction)
    scalars = steps.scalars
    with np.errstate(divide="ignore"):  # at fraction 0
        log_t = _log_time.log_add(before.log_t, scalars.log_elapsed(fraction))
        elapsed = scalars.log_tau_elapsed(fraction)
        tau = field.clock.tau_after(before.tau, log_t, elapsed)
    return Sample(
        tau=tau,
        log_t=log_t,
        point=np.concatenate([direction, log_radius[:, None]], axis=1),
        log_loss=log_loss,
        weights=weights_within(field, before, steps, fraction),
    )
