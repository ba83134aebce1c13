from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .._curve import AbstractCurve
from ..neurons import directions
from ._axes import BLUE, GRAY, VERMILION, above, axes
from ._clock import times
from ._frames import circles, disk, principal, radii, sphere
from ._units import incoming, outgoing_colors, sizes, unit_inputs


def neurons(
    curve: AbstractCurve,
    *,
    layer: int = 0,
    floor: float = 1e-4,
    clock: str = "log_log_t",
    ax: Axes | None = None,
) -> Axes:
    r"""The directions of the incoming weights of each unit, along a curve.

    With two inputs the angle is that of the weights and the radius is time, from the
    start on the inner circle to the end on the outer one. With three inputs, on Axes
    with `projection="3d"` (the default), the paths run on the unit sphere. Otherwise
    they are projected onto two principal directions of the last weights, into the unit
    disk; the labels say so and how much of the weights these hold.

    An open circle is the start; a full one the end, its area the share of the unit in
    the squared norm of all weights. A path ends early where the incoming weights fall
    below `floor` of all: errors of the solve leave their direction without digits. Blue
    units add to a scalar output, vermilion ones take from it. In the first layer,
    triangles are the directions of the data, up and blue for $y = +1$.

    Args:
        curve: What `gflow.solve` or `gflow.descent.descend` returned.
        layer: Which hidden layer's units; 0 is the first.
        floor: The least norm of a unit's incoming weights, relative to all weights; at
            least a hundred times the `rtol` of the solve.
        clock: What the radius measures with two inputs, as for `over_time`; the start
            stands at the first finite time.
        ax: Where to draw; a new figure by default.

    Returns:
        The Axes.

    Raises:
        ValueError: If there is no such hidden layer, units have one input only, or an
            argument is none of these.

    Example:
        `gflow.plot.neurons(curve)`

    References:
        Boursier and Flammarion (2025), "Early alignment in two-layer networks training
        is a two-edged sword", Journal of Machine Learning Research 26.
    """
    time, areas = times(curve, clock), 400 * sizes(curve, layer) + 8
    paths = np.asarray(curve.map(lambda point: directions(point, layer)))
    shares = incoming(curve, layer)
    paths = np.where((shares >= floor)[..., None], paths, np.nan)
    if paths.shape[2] < 2:
        raise ValueError(
            "`curve` must be that of units with two or more inputs, but those of "
            f"layer {layer} have one: their directions are signs."
        )
    ax = axes(ax, projection="3d" if paths.shape[2] == 3 else None)
    data = unit_inputs(curve.flow) if layer == 0 else None
    paths, data = _placed(ax, paths, data, time, clock, shares[-1])
    _draw(ax, paths, data, outgoing_colors(curve, layer), areas)
    return ax


def _placed(ax: Any, paths, data, time, clock: str, shares):
    """Paths and data in the coordinates of the picture, whose frame is drawn."""
    inputs = paths.shape[2]
    if inputs == 3 and ax.name == "3d":
        sphere(ax)
        return paths, data
    if inputs == 2:
        circles(ax, time, clock)
        outside = None if data is None else (1.12 * data[0], data[1])
        return paths * radii(time, clock)[:, None, None], outside
    basis = principal(ax, paths[-1], shares)
    disk(ax, 1.0)
    ax.set(xticks=(-1, -0.5, 0, 0.5, 1), yticks=(-1, -0.5, 0, 0.5, 1))
    return paths @ basis, None if data is None else (data[0] @ basis, data[1])


def _draw(ax: Any, paths, data, colors, areas) -> None:
    """Paths (times, units, axes), their ends, and the data."""
    for unit, color in enumerate(colors):
        ax.plot(*paths[:, unit].T, color=color, linewidth=1, alpha=0.8)
    known = np.isfinite(paths).all(axis=2)
    first = np.argmax(known, axis=0)
    last = len(paths) - 1 - np.argmax(known[::-1], axis=0)
    start, end = (paths[time, np.arange(len(colors))] for time in (first, last))
    style = {"linewidths": 1, "zorder": 3}
    ax.scatter(*start.T, s=16, c="white", edgecolors=colors, **style)
    ax.scatter(*end.T, s=areas, c=colors, edgecolors="white", **style)
    handles = [
        _handle("o", color, f"unit, outgoing weight {sign} 0")
        for color, sign in ((BLUE, ">"), (VERMILION, "<"))
        if color in colors
    ]
    points, labels = (np.array([]), np.array([])) if data is None else data
    for mark, label, color in (("^", 1, BLUE), ("v", -1, VERMILION), ("^", 0, GRAY)):
        if np.any(labels == label):
            of = points[labels == label]
            ax.scatter(*of.T, s=26, marker=mark, c=color, linewidths=0)
            text = f"data, $y = {label:+d}$" if label else "data"
            handles.append(_handle(mark, color, text))
    start_handle = _handle("o", GRAY, "start of a path")
    start_handle.set_markerfacecolor("white")
    above(ax, [*handles, start_handle])


def _handle(marker: str, color: str, text: str) -> Line2D:
    return Line2D([], [], marker=marker, color=color, linestyle="", label=text)
