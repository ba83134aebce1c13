"""The contract of a clock, checked."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._checks import require_x64
from ..clocks import AbstractClock, AbstractRateClock, AbstractTimeClock
from ._clock_rate import check_rate, check_sum
from ._report import require, require_all, require_close


LOG_TIMES = np.concatenate([-np.geomspace(600, 0.1, 40), np.geomspace(0.1, 600, 40)])
"""Where a clock of time is tried: to 1e260, where physical time does not overflow."""

FAR_TIMES = np.array([1e3, 1e5, 1e9])
"""Later times, where a clock may be infinite."""


def check_clock(clock: AbstractClock) -> None:
    r"""Check that a clock keeps the contract of `gflow.clocks`.

    Of a clock of the rate along a curve (`AbstractRateClock`):

    1. `log_rate` returns a finite float64 scalar from `Speeds` alone, the same each
       time and under `jit`, from weights of 1e-100 to log-times of 1e300.
    2. It is smooth: its slope does not jump on lines between places.
    3. `tau_after` adds the integral of the rate.

    Of a clock of time (`AbstractTimeClock`):

    4. It starts at 0 for `log_t` of minus infinity, and increases with `log_t`.
    5. `log_t_at` is its inverse, to 1e-12 as far as it is conditioned, and finite for
       each finite `tau`.
    6. It is the same for arrays of NumPy and of JAX, entry by entry.

    Whether `tau` of a curve is the integral of the rate that a clock states is one of
    the laws of `check_trajectory`.

    Args:
        clock: An instance of a clock.

    Raises:
        AssertionError: If a law is broken; it says which, where, and by how much.
        ValueError: If `clock` is no `gflow.clocks.AbstractClock`, or 64-bit mode is
            off.

    Example:
        `gflow.testing.check_clock(gflow.clocks.LogTime())`
    """
    require_x64()
    if not isinstance(clock, AbstractClock):
        raise ValueError(
            "`clock` must be a `gflow.clocks.AbstractClock` such as `LogTime()`, but "
            f"is {clock!r}. (A class? Call it to make an instance.)"
        )
    name = type(clock).__name__
    kinds = isinstance(clock, AbstractRateClock) + isinstance(clock, AbstractTimeClock)
    law = f"`{name}` must be an `AbstractRateClock` or an `AbstractTimeClock`"
    require(kinds == 1, law, "is neither" if kinds == 0 else "is both")
    if isinstance(clock, AbstractTimeClock):
        _check_time(clock, name)
    else:
        check_rate(clock, name)
        check_sum(clock, name)


def _check_time(clock: Any, name: str) -> None:
    law = f"`{name}.tau_of` must start at 0, at `log_t` of minus infinity"
    start = float(clock.tau_of(np.array([-math.inf]))[0])
    require(start == 0, law, f"is {start:g} there")
    tau = np.asarray(clock.tau_of(LOG_TIMES))
    law = f"`{name}.tau_of` must be finite up to log t of {LOG_TIMES[-1]:g}"
    require_all(
        np.isfinite(tau) & (tau.shape == LOG_TIMES.shape),
        law,
        lambda at: f"is {tau[at]} at {LOG_TIMES[at]:.6g}",
    )
    law = f"`{name}.tau_of` must increase with `log_t`"
    grown = np.diff(tau, prepend=0.0) > 0
    require_all(grown, law, lambda at: f"does not, near {LOG_TIMES[at]:.6g}")
    # Rounding of tau is that of log t over d tau / d log t.
    slope = np.gradient(tau, LOG_TIMES)
    room = 1e-12 * (1.0 + np.abs(LOG_TIMES) + tau / slope)
    law = f"`{name}.log_t_at` must be the inverse of `tau_of`"
    with np.errstate(all="ignore"):
        back = np.asarray(clock.log_t_at(tau))
    require_close(
        back, LOG_TIMES, room, law, lambda at: f"at `log_t` of {LOG_TIMES[at]:.6g}"
    )
    with np.errstate(over="ignore"):
        far = np.asarray(clock.tau_of(FAR_TIMES))
        back = np.asarray(clock.log_t_at(far[np.isfinite(far)]))
    law = f"`{name}.log_t_at` must be the inverse of `tau_of` wherever that is finite"
    expected = FAR_TIMES[np.isfinite(far)]
    require_close(
        back, expected, 1e-9 * expected, law, lambda at: f"at {expected[at]:g}"
    )
    law = f"`{name}` must be the same for arrays of JAX, NumPy and any shape"
    grid = LOG_TIMES.reshape(4, 2, -1)
    for array in (jnp.asarray(grid), grid):
        found = np.asarray(clock.tau_of(array))
        again = np.asarray(clock.tau_after(0 * array + 3.0, array, 0 * array))
        require(found.shape == grid.shape, law, f"returns shape {found.shape}")
        for each in (found, again):
            room = 1e-13 * (np.abs(tau) + 1e-300).reshape(grid.shape)
            room = room * np.maximum(1.0, np.abs(grid))
            require_close(
                each, tau.reshape(grid.shape), room, law, lambda at: f"at {grid[at]:g}"
            )
