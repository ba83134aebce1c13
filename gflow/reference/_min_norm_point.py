import dataclasses
import math
from collections.abc import Callable

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike, Float64

from .._checks import checked_array


Oracle = Callable[[np.ndarray], ArrayLike]


@dataclasses.dataclass(frozen=True)
class MinNormPoint:
    r"""The point of a convex hull nearest to the origin.

    Attributes:
        point: $p$.
        norm: $|p|$.
        corners: The points of the set that $p$ is a mixture of, one a row; affinely
            independent.
        weights: Their shares, positive and of sum one.
        gap: $|p|^2 - \min_s \langle s, p \rangle$ over the set, an upper bound of
            $|p - p_*|^2$.
        oracle_calls: How many linear functions were minimized.
    """

    point: Float64[np.ndarray, " weights"]
    norm: float
    corners: Float64[np.ndarray, "corners weights"]
    weights: Float64[np.ndarray, " corners"]
    gap: float
    oracle_calls: int

    def __repr__(self) -> str:
        return eqx.tree_pformat(self)


def min_norm_point(
    points: ArrayLike | Oracle,
    start: ArrayLike | None = None,
    *,
    tolerance: float = 1e-14,
    max_steps: int = 10_000,
) -> MinNormPoint:
    r"""The shortest vector of a convex hull, by Wolfe's method.

    Finite, and accurate to rounding, since it ends with a least-squares problem on the
    corners that carry the point. The set may be far too large to list: all that is
    asked of it is the minimum of linear functions. So does a Clarke subdifferential
    with many kinks give its smallest element.

    Args:
        points: One point a row; or an oracle, that maps a vector $d$ to a point of the
            set with the least $\langle s, d \rangle$.
        start: A point of the set to begin with; needed with an oracle. By default the
            shortest row.
        tolerance: Stop when `gap` is at most this times the largest $|s|^2$ seen.
        max_steps: Oracle calls.

    Returns:
        The point, its corners and its distance from being exact.

    Raises:
        ValueError: If the arguments do not fit or hold NaN or inf.
        RuntimeError: If `max_steps` are not enough.

    Example:
        `min_norm_point([[2.0, 0.0], [0.0, 2.0]]).point` is (1, 1).

    References:
        Wolfe (1976), "Finding the nearest point in a polytope", Mathematical
        Programming 11.
    """
    oracle, first, unit = checked_set(points, start)
    corners, shares, point = first[None], np.ones(1), first
    largest, gap = float(first @ first), np.inf
    for call in range(1, max_steps + 1):
        new = np.asarray(oracle(point), dtype=float)
        largest = max(largest, float(new @ new))
        gap = float(point @ (point - new))
        known = np.any(np.all(corners == new, axis=1))
        if gap <= tolerance * largest or known:
            return MinNormPoint(
                unit * point,
                unit * math.sqrt(point @ point),
                unit * corners,
                shares,
                unit * (unit * max(gap, 0.0)),
                call,
            )
        corners, shares = np.vstack([corners, new]), np.append(shares, 0.0)
        corners, shares = minor_cycle(corners, shares)
        point = shares @ corners
    raise RuntimeError(
        f"`max_steps` = {max_steps} oracle calls left a gap of {gap:.1e}. Raise "
        "`max_steps` or `tolerance`."
    )


def minor_cycle(corners, shares):
    """Walk to the shortest point of the affine hull; drop corners on the way."""
    while True:
        target = affine_shares(corners)
        if np.min(target) > 0 or len(corners) == 1:
            return corners, target
        falling = target <= 0
        steps = shares[falling] / np.maximum(shares[falling] - target[falling], 1e-300)
        reach = min(1.0, float(np.min(steps)))
        shares = (1 - reach) * shares + reach * target
        shares[np.flatnonzero(falling)[np.argmin(steps)]] = 0.0
        keep = shares > 0
        corners, shares = corners[keep], shares[keep] / np.sum(shares[keep])


def affine_shares(corners):
    """The shares, of sum one, of the shortest point of an affine hull."""
    base = corners[-1]
    differences = (corners[:-1] - base).T
    shares = -np.linalg.lstsq(differences, base, rcond=None)[0]
    return np.append(shares, 1 - np.sum(shares))


def checked_set(
    points: ArrayLike | Oracle, start: ArrayLike | None
) -> tuple[Oracle, Float64[np.ndarray, " weights"], float]:
    """The oracle of a set, and a point of it, in a unit: of its largest entry."""
    if callable(points):
        if start is None:
            raise ValueError(
                "`start` must be a point of the set where `points` is an oracle, but "
                "is None."
            )
        first = checked_array(start, "start")
        if first.ndim != 1:
            raise ValueError(f"`start` must be a vector, but has shape {first.shape}.")
        return points, first, 1.0
    rows = checked_array(points, "points")
    if rows.ndim != 2 or rows.size == 0:
        raise ValueError(
            "`points` must have shape (points, weights), at least one of each, but has "
            f"shape {rows.shape}."
        )
    unit = 2.0 ** np.floor(np.log2(max(float(np.max(np.abs(rows))), 1e-300)))
    rows = rows / unit
    if start is None:
        first = rows[np.argmin(np.sum(rows**2, axis=1))]
    else:
        first = checked_array(start, "start") / unit
    if first.shape != rows.shape[1:]:
        raise ValueError(
            f"`start` must have shape {rows.shape[1:]}, but has shape {first.shape}."
        )
    return lambda direction: rows[np.argmin(rows @ direction)], first, unit
