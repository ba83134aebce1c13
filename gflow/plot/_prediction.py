import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .._curve import AbstractCurve
from .._flow import AbstractFlow
from .._limit import Limit
from .._point import Point
from ._axes import BLACK, BLUE, COLORS, VERMILION, above, axes, point_of, shaded


MARKERS = "osD^vP"
LEVELS = (1e-6, 1.0, 3.0, 10.0)  # in margins; the first is zero but for rounding
BATCH = 4096  # points of the grid at a time
TINTS = (0.1, 0.28, 0.42, 0.55)
NEAR = 1e-2  # slack up to which a point is ringed


def prediction(
    thing: Point | Limit | AbstractCurve,
    *,
    points: int = 400,
    ax: Axes | None = None,
) -> Axes:
    r"""What a network of two inputs predicts over the plane, and with which margin.

    The score of a class is $f$ or $-f$, or its logit less the greatest other one. It is
    zero on the decision boundary (solid), and the smallest margin of all samples on the
    dashed lines, which touch the samples that carry it (ringed: those within 1 %).
    Shades change at 0, 1, 3 and 10 margins; where no class has a millionth of one, as
    where all units are off, it is white. If some sample is misclassified there are no
    dashed lines and rings.

    Args:
        thing: A point, a limit, or a curve, whose last point is taken; with two
            features and two or more classes. A homogeneous network is looked at at norm
            one: the margin is the normalized one.
        points: Of the grid, along each axis.
        ax: Where to draw; a new figure by default.

    Returns:
        The Axes.

    Raises:
        ValueError: If the data have not two features, or no classes, or an argument is
            none of these.

    Example:
        `gflow.plot.prediction(gflow.limit(curve))`
    """
    point = point_of(thing)
    flow = point.flow
    _check(flow, points)
    ax = axes(ax)
    network = point.network if point.degree is None else point.direction
    x = np.asarray(flow.x)
    margins = np.min(np.asarray(flow.margins(network)).reshape(len(x), -1), axis=1)
    margin = float(np.min(margins))
    colors = (VERMILION, BLUE) if flow.kind == "signs" else COLORS
    plane, scores = _scores(flow, network, _box(x), points)
    _shade(ax, plane, scores, margin, colors)
    _mark(ax, flow, colors)
    handles, _ = ax.get_legend_handles_labels()
    handles.append(Line2D([], [], color=BLACK, label="decision boundary"))
    if margin > 0:
        _ring(ax, x[margins <= (1 + NEAR) * margin])
        text = f"smallest margin, {margin:.4g}"
        handles.append(Line2D([], [], color=BLACK, linestyle="--", label=text))
    above(ax, handles)
    ax.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    return ax


def _check(flow: AbstractFlow, points: int) -> None:
    if flow.x.shape[1:] != (2,):
        raise ValueError(
            "`flow.x` must have shape (samples, 2) for a picture of the plane, but has "
            f"shape {flow.x.shape}. For more features, plot margins or neurons."
        )
    if flow.kind == "targets":
        raise ValueError(
            "`flow` must have classes, but is a regression: it has no margins."
        )
    if points < 2:
        raise ValueError(f"`points` must be at least 2, but is {points}.")


def _shade(ax: Axes, plane, scores, margin: float, colors) -> None:
    """Each class where its score is positive, darker from level to level."""
    fitted = margin > 0
    unit = margin if fitted else float(np.max(np.abs(scores)))
    for number, score in enumerate(scores):
        color = colors[number % len(colors)]
        floors = [level * unit for level in LEVELS if level * unit < np.max(score)]
        for floor, tint in zip(floors, TINTS, strict=False):
            shade = [shaded(color, tint)]
            ax.contourf(*plane, score, levels=[floor, np.inf], colors=shade)
        _line(ax, plane, score, floors[:1], 1.5, "-")
        if fitted:
            _line(ax, plane, score, floors[1:2], 1.0, "--")


def _mark(ax: Axes, flow: AbstractFlow, colors) -> None:
    """The samples of each class."""
    x, y = np.asarray(flow.x), np.asarray(flow.y)
    for number, label in enumerate(np.unique(y)):
        color, marker = colors[number % len(colors)], MARKERS[number % len(MARKERS)]
        ax.plot(
            *x[y == label].T, marker, color=color, markeredgecolor="white",
            markersize=7, zorder=3, clip_on=False,
            label=f"$y = {label:+g}$" if flow.kind == "signs" else f"class {label}",
        )  # fmt: skip


def _ring(ax: Axes, x) -> None:
    """Rings around the samples that carry the margin."""
    ax.plot(
        *x.T, "o", color="none", markeredgecolor=BLACK, markersize=12, zorder=4,
        clip_on=False,
    )  # fmt: skip


def _box(x: np.ndarray) -> list[tuple[float, float]]:
    """A square around the data, a tenth wider."""
    middle = (np.max(x, axis=0) + np.min(x, axis=0)) / 2
    reach = max(np.max(np.ptp(x, axis=0)), 1e-300) * 0.6
    return [(float(m - reach), float(m + reach)) for m in middle]


def _scores(flow: AbstractFlow, network: PyTree, box, points: int):
    """The grid, and the score of each class on it."""
    sides = [np.linspace(low, high, points) for low, high in box]
    first, second = np.meshgrid(*sides)
    inputs = jnp.stack([first.ravel(), second.ravel()], axis=1)
    outputs = eqx.filter_jit(ft.partial(jax.lax.map, batch_size=BATCH))(network, inputs)
    outputs = np.asarray(outputs)
    if flow.kind == "signs":
        scores = np.stack([-outputs, outputs])
    else:
        classes = range(outputs.shape[1])
        others = [np.max(np.delete(outputs, k, axis=1), axis=1) for k in classes]
        scores = outputs.T - np.stack(others)
    return (first, second), scores.reshape(-1, points, points)


def _line(ax: Axes, plane, score, levels: list[float], width: float, dashes: str):
    if levels:
        style = {"colors": BLACK, "linewidths": width, "linestyles": dashes}
        ax.contour(*plane, score, levels=levels, **style)
