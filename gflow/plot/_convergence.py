import numpy as np
from jaxtyping import PyTree
from matplotlib.axes import Axes

from .._curve import AbstractCurve
from .._limit import Limit
from .._point import Point
from ..paths import rotation
from ._axes import BLACK, BLUE, axes
from ._clock import place_in_time


def convergence(
    curve: AbstractCurve,
    limit: Limit | Point | PyTree,
    *,
    rtol: float | None = None,
    clock: str = "log_log_t",
    ax: Axes | None = None,
) -> Axes:
    r"""The angle from the direction of the weights to their limit, along a curve.

    Below `rtol` the angle says nothing about the flow itself: it is drawn as a floor.
    Even at a tight one there is a floor of about 1e-10, where the solver caps the scale
    of margins; the limit itself is right to rounding.

    Args:
        curve: What `gflow.solve` or `gflow.descent.descend` returned.
        limit: What `gflow.limit` returned, or a point or network to take its place.
        rtol: The tolerance of the solve, for the floor.
        clock: The axis of time, as for `over_time`.
        ax: Where to draw; a new figure by default.

    Returns:
        The Axes.

    Raises:
        ValueError: If an argument is none of these.

    Example:
        `gflow.plot.convergence(curve, gflow.limit(curve), rtol=1e-6)`
    """
    if rtol is not None and not rtol > 0:
        raise ValueError(f"`rtol` must be positive, but is {rtol!r}.")
    ax = axes(ax)
    x = place_in_time(ax, curve, clock)
    target = limit.point if isinstance(limit, Limit) else limit
    angle = np.asarray(curve.map(lambda point: rotation(point, target)))
    what = f" ({limit.verdict})" if isinstance(limit, Limit) else ""
    ax.plot(x, angle, color=BLUE, linewidth=1.5, label=f"to the limit{what}")
    ax.set_yscale("log", nonpositive="mask")
    if rtol is not None:
        ax.axhline(
            rtol,
            color=BLACK,
            linewidth=1,
            linestyle="--",
            label="tolerance of the solve",
        )
        bottom = min(rtol, np.nanmin(np.where(angle > 0, angle, np.nan)))
        ax.axhspan(bottom / 1e3, rtol, color="#eeeeee", zorder=0)
        ax.set_ylim(bottom=bottom / 3)
    ax.set_ylabel("angle to the limit (radians)")
    ax.legend()
    return ax
