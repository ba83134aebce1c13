import numpy as np
from matplotlib.axes import Axes

from .._curve import AbstractCurve, require_homogeneous
from ..kkt import residual
from ._axes import BLUE, VERMILION, axes
from ._clock import place_in_time


def kkt_residuals(
    curve: AbstractCurve,
    *,
    clock: str = "log_log_t",
    ax: Axes | None = None,
) -> Axes:
    r"""How nearly the weights solve the max-margin problem, along a curve.

    The residuals of stationarity, $\varepsilon$, and of complementary slackness,
    $\delta$, of `gflow.kkt.residual`, with the multipliers of the flow. Both tend to
    zero. They begin where all samples are fitted. Slackness has a floor of about 1e-10,
    where the solver caps the scale of margins.

    Args:
        curve: A curve of a homogeneous network.
        clock: The axis of time, as for `over_time`.
        ax: Where to draw; a new figure by default.

    Returns:
        The Axes.

    Raises:
        ValueError: If an argument is none of these, or no point of the curve fits
            all samples of the data.

    Example:
        `gflow.plot.kkt_residuals(curve)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890.
    """
    ax = axes(ax)
    x = place_in_time(ax, curve, clock)
    require_homogeneous(curve, "KKT residual")
    found = curve.map(residual)
    stationarity, slack = np.asarray(found.stationarity), np.asarray(found.slack)
    if not np.any(np.isfinite(stationarity)):
        raise ValueError(
            "`curve` must fit all samples somewhere, but never does: its KKT "
            "residuals are undefined. Solve for longer."
        )
    label = r"stationarity $\varepsilon$"
    ax.plot(x, stationarity, color=BLUE, linewidth=1.5, label=label)
    label = r"complementary slackness $\delta$"
    ax.plot(x, slack, "--", color=VERMILION, linewidth=1.5, label=label)
    ax.set_yscale("log", nonpositive="mask")
    ax.set_ylabel("KKT residual")
    ax.legend()
    return ax
