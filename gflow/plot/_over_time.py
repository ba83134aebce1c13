from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import ArrayLike
from matplotlib.axes import Axes

from .._curve import AbstractCurve
from ._axes import COLORS, axes
from ._clock import place_in_time


def over_time(
    curve: AbstractCurve,
    values: ArrayLike,
    *,
    label: str | Sequence[str] | None = None,
    clock: str = "log_log_t",
    ax: Axes | None = None,
    **style: Any,
) -> Axes:
    r"""Any quantity along a curve.

    The default axis of time is linear in $\log t$ up to $t = e$ and in $\log \log t$
    past it, with ticks at $10^{10^k}$: on it late changes are as wide as early ones.
    Its coordinate is $\log t$ itself, so that `ax.axvline(1e9)` marks $\log t = 10^9$.
    The start, $t = 0$, is not on it, nor is what comes after $\log t$ overflows: for
    both there are other clocks.

    Args:
        curve: What `gflow.solve` or `gflow.descent.descend` returned.
        values: A number for each sample, or several: one line each. NaN leaves a gap.
        label: For the legend; several for several lines.
        clock: `"log_log_t"`, `"log_t"`, `"log_radius"` ($\log |w|$) or `"tau"`.
        ax: Where to draw; a new figure by default.
        style: For `Axes.plot`, such as `linestyle`.

    Returns:
        The Axes.

    Raises:
        ValueError: If an argument is none of these, or their sizes differ.

    Example:
        `gflow.plot.over_time(curve, curve.log_loss, label="log loss")`
    """
    ax = axes(ax)
    x = place_in_time(ax, curve, clock)
    lines = _lines(values, len(x))
    labels = [label] * lines.shape[1] if label is None else _labels(label)
    if len(labels) != lines.shape[1]:
        raise ValueError(
            f"`label` must give one text for each of {lines.shape[1]} lines, but gives "
            f"{len(labels)}."
        )
    drawn = len(ax.lines)
    for number, (line, text) in enumerate(zip(lines.T, labels, strict=True)):
        color = COLORS[(drawn + number) % len(COLORS)]
        ax.plot(x, line, **{"color": color, "linewidth": 1.5, "label": text, **style})
    if label is not None:
        ax.legend()
    return ax


def _lines(values: ArrayLike, count: int) -> np.ndarray:
    lines = np.asarray(values, dtype=float)
    if lines.ndim not in (1, 2) or len(lines) != count:
        raise ValueError(
            f"`values` must have shape ({count},) or ({count}, lines), one entry for "
            f"each sample of `curve`, but has shape {lines.shape}. Make such "
            "values by `curve.map`."
        )
    return lines.reshape(count, -1)


def _labels(label: str | Sequence[str]) -> list[str]:
    return [label] if isinstance(label, str) else [*label]
