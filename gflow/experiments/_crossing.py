"""When a function of a curve first passes zero."""

import math
from collections.abc import Callable

import gflow
import numpy as np
from jaxtyping import ArrayLike


ROUNDS, PARTS = 15, 8


def crossing(
    curve: "gflow.Trajectory", function: Callable[["gflow.Trajectory"], ArrayLike]
) -> float:
    r"""$\log t$ at which a function of the samples of a curve first rises past zero.

    Args:
        curve: With its dense output.
        function: From a curve to one number a sample.

    Returns:
        The logarithm of time, to rounding; NaN if it never does.
    """
    above = np.asarray(function(curve)) > 0
    first = int(np.argmax(above))
    if first == 0:  # never, or before the curve begins
        return math.nan
    low, high = (float(t) for t in curve.log_t[first - 1 : first + 1])
    low = max(low, high - 40.0)  # from t = 0 on: the first step is short
    for _ in range(ROUNDS):
        times = np.linspace(low, high, PARTS + 1)
        inner = np.asarray(function(curve.at(log_t=times[1:-1]))) > 0
        k = int(np.argmax(inner)) if np.any(inner) else PARTS - 1
        low, high = times[k], times[k + 1]
    return (low + high) / 2
