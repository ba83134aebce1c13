"""Where directions are drawn: a disk of time, the sphere, a projection."""

from typing import Any

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.patches import Circle

from ._axes import GRAY
from ._clock import power_text, stretch


INNER = 0.4  # the radius of the start on the disk
SYMBOLS = {"log_radius": r"\log |w|", "tau": r"\tau", "log_t": r"\log t"}


def radii(time, clock) -> Float64[np.ndarray, " times"]:
    """How far out each time lies on the disk."""
    place = stretch(time) if clock == "log_log_t" else time
    first, last = np.nanmin(place), np.nanmax(place)
    part = (place - first) / (last - first) if last > first else np.ones(len(time))
    part = np.where(np.isfinite(part), part, 1.0)
    # Infinite before the first finite time, the start, or after the last.
    part[: np.argmax(np.isfinite(time))] = 0.0
    return INNER + (1 - INNER) * part


def circles(ax: Axes, time, clock) -> None:
    """The disk of time, from the inner circle to the outer one."""
    for radius in (INNER, 1.0):
        disk(ax, radius)
    ends = np.nanmin(time), np.nanmax(time)
    if clock == "log_log_t":
        first, last = ("t = " + power_text(at).strip("$") for at in ends)
    else:
        first, last = (f"{SYMBOLS[clock]} = {at:.4g}" for at in ends)
    ax.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), xticks=[], yticks=[])
    ax.set(xlabel=f"angle: direction of $w_j$\nradius: from ${first}$ to ${last}$")


def disk(ax: Axes, radius: float) -> None:
    """The outline of a disk around zero."""
    ax.add_patch(Circle((0, 0), radius, fill=False, edgecolor=GRAY, linewidth=0.8))
    ax.set_aspect("equal")


def sphere(ax: Any) -> None:
    """The unit sphere."""
    turn, rise = np.meshgrid(np.linspace(0, 2 * np.pi, 37), np.linspace(0, np.pi, 19))
    around = np.sin(rise) * np.cos(turn), np.sin(rise) * np.sin(turn), np.cos(rise)
    ax.plot_wireframe(*around, color=GRAY, linewidth=0.3, alpha=0.4)
    ticks = {f"{axis}ticks": (-1, 0, 1) for axis in "xyz"}
    ax.set(xlabel="$w_1 / |w|$", ylabel="$w_2 / |w|$", zlabel="$w_3 / |w|$", **ticks)
    ax.set_box_aspect((1, 1, 1), zoom=0.9)


def principal(ax: Axes, last, weights) -> Float64[np.ndarray, "inputs 2"]:
    """Two principal directions of the last weights, named on the axes."""
    alive = np.isfinite(last).all(axis=1)
    scaled = last[alive] * weights[alive, None]
    _, values, rows = np.linalg.svd(scaled, full_matrices=True)
    shares = np.append(values, [0.0, 0.0])[:2] ** 2 / np.sum(values**2)
    names = (
        f"principal direction {k} ({share:.0%} of the squared weights)"
        for k, share in enumerate(shares, start=1)
    )
    ax.set(xlabel=next(names), ylabel=next(names))
    rows = rows[:2]
    largest = np.argmax(np.abs(rows), axis=1, keepdims=True)
    return (rows * np.sign(np.take_along_axis(rows, largest, axis=1))).T
