"""What the arguments of experiments must be."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import ArrayLike, Float64

from .._checks import require_x64


def checked_number(
    value: float, name: str, least: float, most: float, fix: str
) -> float:
    """An argument as a float within bounds, or an error that names it.

    Raises:
        ValueError: If it is no number, or not within the bounds.
    """
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not (number and least <= value <= most):
        raise ValueError(
            f"`{name}` must be a number from {least:g} to {most:g}, but is {value!r}. "
            f"{fix}"
        )
    return float(value)


def checked_rtol(rtol: float) -> float:
    """The tolerance of a solve, or an error; in 32 bits none could be met.

    Raises:
        ValueError: If it is not between 1e-12 and 1e-3, or JAX runs in 32 bits.
    """
    require_x64()
    fix = "Predictions are compared to 100 times it; 1e-6 is a good choice."
    return checked_number(rtol, "rtol", 1e-12, 1e-3, fix)


def checked_numbers(
    values: ArrayLike | Sequence[float], name: str, least: float, most: float, fix: str
) -> Float64[np.ndarray, " values"]:
    """A vector of at least one number within bounds, or an error that names it.

    Raises:
        ValueError: If it is something else.
    """
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        array = np.array(math.nan)
    good = array.ndim == 1 and array.size > 0 and not np.any(np.isnan(array))
    if not (good and np.all((array >= least) & (array <= most))):
        raise ValueError(
            f"`{name}` must be a sequence of numbers from {least:g} to {most:g}, but "
            f"is {values!r}. {fix}"
        )
    return array
