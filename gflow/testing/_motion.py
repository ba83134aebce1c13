"""Whether a curve moves as its flow says: rates against what they add up to."""

import numpy as np
from jaxtyping import Float

from .._trajectory import Trajectory
from ..clocks import AbstractTimeClock
from ._rates import rates_of
from ._report import require_close
from ._stacks import directions, sample


DIGITS = 1e4
"""Up to this R dual weights at the dense output have the digits for an integral."""

LEAST_SCALE, SMALLEST = -300.0, -460.0
"""Logarithms of weights to the power of the degree, and of weights, whose gradients
and their squares do not underflow."""

SHORTEST = 1e-6
"""A step shorter than this in log t, relatively, has no digits in it."""

MOST_CHANGE = 3.0
"""By more e-foldings of the rate of time on a step, it is too steep for a rule."""

MOST_STEPS = 60
"""How many steps are looked at, evenly spread over those that can be."""

_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(8)


def check_motion(
    curve: Trajectory, scale: Float[np.ndarray, " times"], room: float
) -> None:
    """Weights, loss and time change by the integrals of their rates."""
    clock = curve.field.clock
    of_time = isinstance(clock, AbstractTimeClock)
    if isinstance(clock, AbstractTimeClock):
        expected = np.asarray(clock.tau_of(curve.log_t))
        law = "`curve.tau` must be what its clock says of `curve.log_t`"
        require_close(curve.tau, expected, 1e-9 * (1 + expected), law, sample)
    steps = _steps(curve, scale, of_time)
    if steps.size == 0:
        return
    axis = np.asarray(curve.log_t if of_time else curve.tau)
    width = axis[steps + 1] - axis[steps]
    times = axis[steps, None] + width[:, None] * (_POINTS + 1) / 2
    asked = {"log_t" if of_time else "tau": times.ravel()}
    moved, fallen, log_dt = rates_of(curve.at(**asked))

    def total(rate):
        rate = rate.reshape(*times.shape, -1)
        return np.einsum("k,kjw,j->kw", width / 2, rate, _WEIGHTS)

    def change(values):
        return values[steps + 1] - values[steps]

    def where(at):
        return f"over the step to sample {steps[at[0]] + 1}"

    allowed = room * scale[steps + 1]
    w = directions(curve) * np.exp(np.asarray(curve.log_radius))[:, None]
    law = "The weights must move by the integral of minus the gradient of the loss"
    norms = np.linalg.norm(w, axis=1)
    size = np.maximum(norms[steps], norms[steps + 1])[:, None]
    require_close(change(w) / size, total(moved) / size, allowed[:, None], law, where)
    if fallen is not None:
        law = "The loss must fall by the integral of the squared gradient"
        fall = change(np.asarray(curve.log_loss))
        require_close(fall, total(fallen)[:, 0], allowed, law, where)
    if log_dt is None:
        return
    log_dt, log_t = log_dt.reshape(times.shape), np.asarray(curve.log_t)
    even = np.flatnonzero(np.ptp(log_dt, axis=1) < MOST_CHANGE)
    first, last = steps[even], steps[even] + 1
    run = np.exp(log_dt[even] - log_t[last][:, None]) @ _WEIGHTS * width[even] / 2
    law = "Time must run by the rate of the clock (the part of it spent on a step)"
    spent = -np.expm1(log_t[first] - log_t[last])
    require_close(spent, run, allowed[even], law, lambda at: where((even[at[0]],)))


def _steps(
    curve: Trajectory, scale: Float[np.ndarray, " times"], of_time: bool
) -> np.ndarray:
    """The first samples of steps whose rates have digits."""
    if curve.steps is None or curve.field.kinks.count > 0 or len(curve) < 3:
        return np.zeros(0, int)
    log_t, log_radius = np.asarray(curve.log_t), np.asarray(curve.log_radius)
    log_scale = log_radius * (1.0 if curve.degree is None else curve.degree)
    good = (scale <= DIGITS) & (log_radius > SMALLEST) & (log_scale > LEAST_SCALE)
    if of_time:
        good &= np.isfinite(log_t)
    elif curve.flow.kind != "targets":  # the clock counts no sample that is not seen
        good &= np.all(np.asarray(curve.weights) > 0, axis=1)
    good = good[:-1] & good[1:]
    if of_time:
        with np.errstate(invalid="ignore"):
            good &= np.diff(log_t) > SHORTEST * np.maximum(1.0, np.abs(log_t[1:]))
    found = np.flatnonzero(good)
    if found.size > MOST_STEPS:
        found = found[np.linspace(0, found.size - 1, MOST_STEPS).round().astype(int)]
    return found
