import numpy as np
from matplotlib.axes import Axes

from .._curve import AbstractCurve
from ..layers import alignments
from ._axes import COLORS, axes
from ._clock import place_in_time


FLOOR = 1e-16  # rounding of a cosine near one


def layer_alignments(
    curve: AbstractCurve, *, clock: str = "log_log_t", ax: Axes | None = None
) -> Axes:
    r"""How far adjacent layers are from alignment, $1 - |\langle v_{k+1}, u_k\rangle|$.

    Of the top singular vectors of each layer and the next, as in
    `gflow.layers.alignments`. All tend to zero along the flow of deep linear networks
    on separable data. The cosines carry rounding of about 1e-16, below which nothing is
    drawn.

    Args:
        curve: A curve of a network of two or more layers.
        clock: The axis of time, as for `over_time`.
        ax: Where to draw; a new figure by default.

    Returns:
        The Axes.

    Raises:
        ValueError: If an argument is none of these, or the network has no layers that
            fit together, or only one.

    Example:
        `gflow.plot.layer_alignments(curve)`

    References:
        Ji and Telgarsky (2018), "Gradient descent aligns the layers of deep linear
        networks", arXiv:1810.02032.
    """
    ax = axes(ax)
    x = place_in_time(ax, curve, clock)
    cosines = np.asarray(curve.map(alignments))
    if cosines.shape[1] == 0:
        raise ValueError(
            "`curve` must be that of a network of two or more layers, but it has one."
        )
    gaps = np.maximum(1 - cosines, FLOOR)
    for layer, gap in enumerate(gaps.T):
        color = COLORS[layer % len(COLORS)]
        style = ("-", "--", "-.", ":")[layer % 4]
        label = f"layers {layer + 1} and {layer + 2}"
        ax.plot(x, gap, color=color, linestyle=style, linewidth=1.5, label=label)
    ax.set_yscale("log", nonpositive="mask")
    ax.set_ylabel(r"misalignment $1 - |\langle v_{k+1}, u_k \rangle|$")
    ax.legend()
    return ax
