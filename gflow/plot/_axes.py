"""What all pictures share: where they are drawn, in which colors, and of what."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from .._curve import AbstractCurve, require_curve
from .._limit import Limit
from .._point import Point


# Okabe and Ito (2008), "Color Universal Design": told apart by the color-blind.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = COLORS = (
    *("#0072b2", "#d55e00", "#009e73"),
    *("#cc79a7", "#e69f00", "#56b4e9"),
)
BLACK, GRAY = "#222222", "#8a8a8a"


def axes(ax: Axes | None, projection: str | None = None) -> Axes:
    """The Axes to draw into; new ones if there are none.

    Raises:
        ValueError: If `ax` is something else.
    """
    if ax is None:
        figure = plt.figure(layout="constrained")
        return figure.add_subplot(projection=projection)
    if not isinstance(ax, Axes):
        raise ValueError(
            f"`ax` must be one Axes of matplotlib, but is {type(ax).__name__}. For "
            "`figure, ax = plt.subplots()` pass `ax`; of several, pass one."
        )
    return ax


def above(ax: Axes, handles: list[Any]) -> None:
    """A legend above the picture, which fills its Axes."""
    ax.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0),
        ncols=2 if len(handles) < 6 else 3, frameon=False,
    )  # fmt: skip


def shaded(color: str, tint: float) -> tuple[float, ...]:
    """A color mixed with white: 0 is white, 1 the color."""
    rgb = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return tuple(1 - tint * (1 - rgb))


def point_of(thing: Point | Limit | AbstractCurve) -> Point:
    """One point: the last of a curve, that of a limit, or itself.

    Raises:
        ValueError: If it is something else, or an empty curve.
    """
    if isinstance(thing, Limit):
        return thing.point
    if isinstance(thing, AbstractCurve):
        require_curve(thing)
        return thing[-1]
    if not isinstance(thing, Point):
        raise ValueError(
            "A point, a curve or a limit is needed, but this is "
            f"{type(thing).__name__}. Of a network, pass `gflow.point(flow, network)`."
        )
    return thing
