import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from .._curve import AbstractCurve
from ._axes import GRAY, axes
from ._clock import place_in_time


LEAST = 1e-12  # lower ones are of no matter


def multipliers(
    curve: AbstractCurve,
    *,
    support: float = 1e-6,
    clock: str = "log_log_t",
    ax: Axes | None = None,
) -> Axes:
    r"""The pull $q_i$ of each margin on the flow, along a curve.

    For a homogeneous network they tend to the multipliers of the max-margin problem,
    divided by their sum. Margins that carry weight at the end are colored, dark for the
    heaviest; all others are gray.

    Args:
        curve: What `gflow.solve` or `gflow.descent.descend` returned.
        support: The least last weight of a colored line.
        clock: The axis of time, as for `over_time`.
        ax: Where to draw; a new figure by default.

    Returns:
        The Axes.

    Raises:
        ValueError: If an argument is none of these, or the loss is the square loss,
            whose weights are signed.

    Example:
        `gflow.plot.multipliers(curve)`
    """
    if not 0 <= support < 1:
        raise ValueError(f"`support` must be at least 0 and below 1, but is {support}.")
    ax = axes(ax)
    x = place_in_time(ax, curve, clock)
    if curve.flow.kind == "targets":
        raise ValueError(
            "`curve` must be that of a loss of margins, but is of the square "
            "loss, whose weights are errors. Plot them by `gflow.plot.over_time`."
        )
    weights = np.asarray(curve.weights)
    weights = weights / np.sum(weights, axis=1, keepdims=True)
    order = np.argsort(weights[-1])
    held = [int(i) for i in order if weights[-1, i] >= support]
    for i in order[: len(order) - len(held)]:
        ax.plot(x, weights[:, i], color=GRAY, linewidth=0.6, alpha=0.6, zorder=1)
    shades = colormaps["viridis"](np.linspace(0.9, 0.0, len(held)))
    for i, shade in zip(held, shades, strict=True):
        ax.plot(x, weights[:, i], color=shade, linewidth=1.5, zorder=2)
    ax.set_yscale("log", nonpositive="mask")
    ax.set_ylim(LEAST, 2)
    ax.set_ylabel(f"multiplier $q_i$ ({len(held)} of {len(order)} in the support)")
    return ax
