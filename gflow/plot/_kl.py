import numpy as np
from jaxtyping import ArrayLike
from matplotlib.axes import Axes

from ..kl import Desingularization
from ._axes import BLACK, BLUE, GRAY, GREEN, VERMILION, axes


GAP = r"gap $a - \tilde\gamma$ (time runs to the left)"


def kl_speed(found: Desingularization, *, ax: Axes | None = None) -> Axes:
    r"""How fast the smoothed margin rises per radian of path, against what it lacks.

    On logarithmic axes the slope is the local exponent of Kurdyka and Lojasiewicz. The
    power law is drawn through the samples that it was fitted to, and on.

    Args:
        found: What `gflow.kl.desingularize` returned.
        ax: Where to draw; a new figure by default.

    Returns:
        The Axes.

    Raises:
        ValueError: If an argument is none of these.

    Example:
        `gflow.plot.kl_speed(gflow.kl.desingularize(curve))`
    """
    ax = axes(ax)
    require(found)
    gap, speed = found.gap[found.resolved], found.speed[found.resolved]
    window = found.fitted[found.resolved]
    ax.plot(gap, speed, color=GRAY, linewidth=1)
    ax.plot(gap, speed, ".", color=BLUE, markersize=4, label="samples of the run")
    ring = {"color": BLUE, "fillstyle": "none", "markersize": 7, "markeredgewidth": 0.6}
    ax.plot(gap[window], speed[window], "o", label="fitted", **ring)
    ends = np.array([gap[-1] / 3, gap[window][0] * 10])
    law = found.factor * ends**found.exponent
    name = rf"$\kappa = {found.exponent:.4g} \pm {found.exponent_error:.1g}$"
    ax.plot(ends, law, "--", color=VERMILION, linewidth=1.5, label=name)
    return finished(ax, r"$\mathrm{d}\tilde\gamma / \mathrm{d}\zeta$")


def kl_path(
    found: Desingularization,
    *,
    distance: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    r"""The path that remains, and its bound by the desingularizing function.

    Args:
        found: What `gflow.kl.desingularize` returned.
        distance: The angle to the limit at each sample, in radians: no path is shorter.
        ax: Where to draw; a new figure by default.

    Returns:
        The Axes.

    Raises:
        ValueError: If an argument is none of these.

    Example:
        `gflow.plot.kl_path(gflow.kl.desingularize(curve))`
    """
    ax = axes(ax)
    require(found)
    gap = found.gap[found.resolved]
    fine = np.geomspace(gap[-1], gap[0], 400)
    name = r"bound $\Psi(a - \tilde\gamma)$"
    ax.plot(fine, found.psi(fine), color=VERMILION, linewidth=1.5, label=name)
    name = r"path that remains, $\zeta_\infty - \zeta$"
    path = found.remaining[found.resolved]
    ax.plot(gap, path, ".", color=BLUE, markersize=4, label=name)
    if distance is not None:
        distance = np.asarray(distance, dtype=float)
        if distance.shape != found.gap.shape:
            raise ValueError(
                f"`distance` must have one entry a sample, {found.gap.shape}, but has "
                f"shape {distance.shape}."
            )
        name = r"angle to the limit"
        ax.plot(gap, distance[found.resolved], color=GREEN, linewidth=1, label=name)
    return finished(ax, "radians")


def require(found: Desingularization) -> None:
    """Refuse anything else.

    Raises:
        ValueError: If it is something else.
    """
    if not isinstance(found, Desingularization):
        raise ValueError(
            "`found` must be what `gflow.kl.desingularize` returned, but is "
            f"{type(found).__name__}."
        )


def finished(ax: Axes, label: str) -> Axes:
    """Scales, labels and a legend."""
    ax.set(xscale="log", yscale="log", xlabel=GAP, ylabel=label)
    ax.legend(frameon=False, labelcolor=BLACK)
    return ax
