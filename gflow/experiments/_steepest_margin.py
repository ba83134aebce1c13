import math

import gflow
import numpy as np

from .._checks import checked_count
from ._checks import checked_number, checked_rtol
from ._finding import Finding, Row
from ._run import TOLERANCES, follow, measured


NORMS = ("linf", "l1", "l2")


def steepest_margin(
    *,
    norm: str = "linf",
    samples: int = 12,
    features: int = 5,
    smoothing: float = 1e-3,
    seed: int = 1,
    rtol: float = 1e-6,
    max_steps: int = 10_000,
) -> Finding:
    r"""Steepest descent in a norm finds the largest margin in that norm.

    Sign descent (`"linf"`), coordinate descent (`"l1"`) or gradient descent (`"l2"`)
    of a linear classifier under the exponential loss, to $R = |w| = 10^{12}$, against
    a linear or a quadratic program.

    Args:
        norm: `"linf"`, `"l1"` or `"l2"`.
        samples: How many separable points.
        features: Their dimension.
        smoothing: How far the square of the norm that is descended in may be above
            that of `norm`, 1e-4 to 0.1; see `gflow.SteepestFlow`. The margin may be
            below the largest by a factor of its square root.
        seed: Of the points and the weights.
        rtol: The tolerance of the solve.
        max_steps: Of the solve.

    Returns:
        Rows on the growth of the margin and on its limit.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `gflow.experiments.steepest_margin(norm="l1")`

    References:
        Tsilivis, Vardi and Kempe (2025), "Flavors of margin: implicit bias of steepest
        descent in homogeneous neural networks", arXiv:2410.22069.
    """
    if norm not in NORMS:
        raise ValueError(f"`norm` must be one of {NORMS}, but is {norm!r}.")
    fix = "Smaller is sharper, and stiffer."
    smoothing = checked_number(smoothing, "smoothing", 1e-4, 0.1, fix)
    rtol, seed = checked_rtol(rtol), checked_count(seed, "seed", 0)
    x, y = gflow.data.separable(samples, features, shift=0.2, seed=seed)
    start = 0.5 * np.random.default_rng(seed).normal(size=features)
    network = gflow.nn.DeepLinear.from_weights([start])
    flow = gflow.SteepestFlow(gflow.Exponential(), x, y, norm=norm, smoothing=smoothing)
    until = gflow.Until(log_margin_scale=12 * math.log(10))
    curve = follow(flow, network, until, rtol=rtol, max_steps=max_steps)
    best = gflow.reference.hard_margin(x, y, norm=norm)

    def found():
        # Exact at the ends of steps; the last sample lies within one.
        smoothed = np.asarray(curve.map(gflow.margins.steepest))[:-1]
        growth = np.diff(np.log(smoothed[smoothed > 0]))
        end = float(gflow.margins.in_norm(curve[-1], norm))
        return max(0.0, -float(np.min(growth, initial=0.0))), end, end

    fall, low, high = measured(curve, 3, found)
    allowed, loose = TOLERANCES * rtol, 0.0 if norm == "l2" else smoothing
    least = best.margin / math.sqrt(1 + loose)
    rows = (
        Row("largest fall of log smoothed margin", 0.0, fall, rtol),
        Row(f"{norm} margin at the end, as t -> inf", best.margin, high, allowed, "<="),
        Row("the same", least, low, allowed, ">="),
    )
    return Finding(
        name="steepest_margin",
        claim="Along steepest descent in a norm the smoothed margin in that norm never "
        "falls, and its direction tends to a KKT point of the largest margin in that "
        "norm: for a linear classifier to the largest.",
        source="Tsilivis, Vardi and Kempe (2025), arXiv:2410.22069",
        settings={"norm": norm, "samples": samples, "features": features,
                  "smoothing": smoothing, "seed": seed, "rtol": rtol},
        rows=rows,
        curves=(curve,),
    )  # fmt: skip
