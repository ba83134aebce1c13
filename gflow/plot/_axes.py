"""What all pictures share: where they are drawn, in which colors, and of what."""

from typing import Any

import equinox as eqx
import jax
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import PyTree
from matplotlib.axes import Axes

from .. import _tree
from .._limit import Limit
from .._trajectory import Trajectory


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


def require_trajectory(trajectory: Trajectory) -> Trajectory:
    """Refuse anything else, and a trajectory without samples.

    Raises:
        ValueError: If it is no trajectory, or an empty one.
    """
    if not isinstance(trajectory, Trajectory):
        raise ValueError(
            "`trajectory` must be what `gflow.solve` returned, but is "
            f"{type(trajectory).__name__}."
        )
    if len(trajectory.tau) == 0:
        raise ValueError(
            "`trajectory` must have samples, but has none. Ask for times on the curve."
        )
    return trajectory


def network_of(thing: PyTree | Limit | Trajectory) -> PyTree:
    """One network: the last of a trajectory, the direction of a limit, or itself.

    Of a trajectory without a degree it is the network itself, else its direction.
    """
    if isinstance(thing, Limit):
        return thing.direction
    if isinstance(thing, Trajectory):
        plain = thing.degree is None or thing.field.flow.kind == "targets"
        networks = thing.networks if plain else thing.direction
        moving, still = _tree.partition(networks)
        return eqx.combine(jax.tree.map(lambda leaf: leaf[-1], moving), still)
    return thing
