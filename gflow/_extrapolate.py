"""The limit of a quantity as the width of kinks goes to zero."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float64


WIDTHS = (1e-3, 1e-4, 1e-5)


class Extrapolation(NamedTuple):
    """A limit as `eps` goes to zero.

    Attributes:
        value: The limit.
        error: An estimate of its error, entry by entry.
        widths: The widths that were tried, falling.
        values: The quantity at each, along the first axis.
    """

    value: Float64[np.ndarray, "*shape"]
    error: Float64[np.ndarray, "*shape"]
    widths: Float64[np.ndarray, " widths"]
    values: Float64[np.ndarray, "widths *shape"]


def extrapolate(
    of_eps: Callable[[float], ArrayLike], widths: Sequence[float] = WIDTHS
) -> Extrapolation:
    r"""Follow a quantity to exact kinks, from smoothed ones of falling width.

    The limit of a smoothed flow is off by $c\,\epsilon + O(\epsilon^2)$ as long as no
    kink changes its state, so the polynomial through the values is taken at zero. The
    error estimate is the distance between the limits from all widths and from all but
    the first, or from all but the last, whichever is more.

    Args:
        of_eps: From a width to a number or an array, such as the margin that a solve of
            `gflow.nn.with_eps(network, eps)` ends with. Its own error, such as `rtol`,
            must lie below the difference that `eps` makes.
        widths: Falling and positive; three at least.

    Returns:
        The limit, an estimate of its error, and the values it comes from.

    Raises:
        ValueError: If the widths do not fall, or the values are not finite or not of
            one shape.

    Example:
        `gflow.extrapolate(lambda eps: margin_of(gflow.nn.with_eps(network, eps)))`
    """
    eps = np.asarray(widths, dtype=float)
    if eps.ndim != 1 or eps.size < 3 or not np.all(np.diff(eps) < 0) or eps[-1] <= 0:
        raise ValueError(
            "`widths` must be at least three falling positive numbers, but is "
            f"{widths!r}. Pass `(1e-3, 1e-4, 1e-5)`."
        )
    found = [np.asarray(of_eps(float(width)), dtype=float) for width in eps]
    shapes = {value.shape for value in found}
    if len(shapes) > 1 or not all(np.all(np.isfinite(value)) for value in found):
        raise ValueError(
            "`of_eps` must return finite numbers of one shape, but returned shapes "
            f"{sorted(shapes)}, or NaN or inf. Look at it for each of `widths`."
        )
    values = np.stack(found)
    whole = _at_zero(eps, values)
    others = (_at_zero(eps[1:], values[1:]), _at_zero(eps[:-1], values[:-1]))
    error = np.maximum(*(np.abs(whole - other) for other in others))
    return Extrapolation(whole, error, eps, values)


def _at_zero(eps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The polynomial through the values, at zero, by Lagrange's formula."""
    weights = [
        math.prod(other / (other - here) for other in eps if other != here)
        for here in eps
    ]
    return np.tensordot(np.array(weights), values, axes=1)
