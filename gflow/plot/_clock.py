r"""The axis of time: from $t = 10^{-3}$ to $t = 10^{10^{30}}$ in one picture."""

import math

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, Locator

from .._curve import AbstractCurve, require_curve


CLOCKS = ("log_log_t", "log_t", "log_radius", "tau")
LABELS = {
    "log_log_t": r"time $t$, on the scale of $\log\log t$",
    "log_t": r"$\log t$",
    "log_radius": r"$\log |w|$",
    "tau": r"$\tau$, the clock of the curve",
}
TICKS = 7  # at most so many intervals
TEN = math.log(10)


def stretch(log_t):
    r"""Where a time lies on the axis: $\log t$ up to $t = e$, $1 + \log\log t$ past it.

    The two meet with one slope.
    """
    log_t = np.asarray(log_t, dtype=float)
    return np.where(log_t > 1, 1 + np.log(np.maximum(log_t, 1)), log_t)


def unstretch(place):
    """The logarithm of the time at a place of the axis."""
    place = np.asarray(place, dtype=float)
    return np.where(place > 1, np.exp(np.clip(place - 1, 0, 709)), place)


class PowerLocator(Locator):
    """Ticks at powers of ten up to t = 10, and then at powers of ten of its exponent.

    Where these are too far apart, at 2 and 5 times them too.
    """

    def __call__(self):
        assert self.axis is not None
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin, vmax):
        low, high = stretch(sorted((vmin, vmax)))
        apart = (high - low) / TICKS / TEN  # in powers of ten
        stride = next((s for s in (1, 2, 5, 10, 20, 50) if s >= apart), 100)
        early = TEN * np.arange(0, max(math.floor(-low / TEN), 0) + 1, stride)
        digits = (1, 2, 5) if apart < 0.3 else (1,)
        top = max(high - 1, 0) / TEN
        powers = 10.0 ** np.arange(0, top + 1, stride)
        late = TEN * np.outer(powers, digits).ravel()
        late = late[stretch(late) >= (high - low) / TICKS / 2]  # not on top of t = 1
        ticks = np.concatenate([-early[::-1], late])
        return ticks[(ticks >= min(vmin, vmax)) & (ticks <= max(vmin, vmax))]


def power_text(log_t: float, position: int | None = None) -> str:
    """A time as a power of ten, whose exponent may be one again."""
    del position
    exponent = log_t / TEN
    if abs(exponent) < 1e-9 or abs(exponent - 1) < 1e-9:
        return f"${10**exponent:.0f}$"
    if abs(exponent) < 999.5:
        return f"$10^{{{exponent:.3g}}}$"
    power = math.floor(math.log10(exponent) + 1e-9)
    digit = exponent / 10.0**power
    factor = "" if abs(digit - 1) < 1e-6 else rf"{digit:.3g} \cdot "
    return f"$10^{{{factor}10^{{{power}}}}}$"


def place_in_time(
    ax: Axes, curve: AbstractCurve, clock: str
) -> Float64[np.ndarray, " times"]:
    """Set up the axis of time, and say where on it the samples lie; NaN for nowhere.

    Raises:
        ValueError: If the clock is none, or no sample lies on it.
    """
    values = times(curve, clock)
    ax.margins(x=0.02)
    if clock == "log_log_t":
        ax.set_xscale("function", functions=(stretch, unstretch))
        ax.xaxis.set_major_locator(PowerLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(power_text))
    ax.set_xlabel(LABELS[clock])
    return values


def times(curve: AbstractCurve, clock: str) -> Float64[np.ndarray, " times"]:
    """The time of each sample; NaN where it is infinite.

    Raises:
        ValueError: If the clock is none, or no sample has a finite time.
    """
    require_curve(curve)
    if clock not in CLOCKS:
        raise ValueError(f"`clock` must be one of {CLOCKS}, but is {clock!r}.")
    name = "log_t" if clock == "log_log_t" else clock
    values = np.asarray(getattr(curve, name), dtype=float)
    if not np.any(np.isfinite(values)):
        raise ValueError(
            f"`clock` must be one whose times are finite somewhere, but `{name}` is "
            'infinite at each sample. Use "log_radius" or "tau".'
        )
    return np.where(np.isfinite(values), values, np.nan)
