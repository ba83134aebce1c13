"""Points of sums of convex hulls: the shortest, and the cone over several."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from ..reference import nonnegative_multipliers
from ._hulls import Hull


EPS = float(np.finfo(np.float64).eps)
NOISE = 20.0
"""In units of the rounding of a sum: what is below pulls nowhere."""

MANY = 30
"""For more parts than this, the active sets start from an approximate solution,"""
WARM, SURE = 300, 1e-3
"""of so many steps, of which shares below the second number are dropped. Found by trial
on boxes of 200 to 1000 gates, ten times faster so."""


def shortest_mixture(
    base: Float64[np.ndarray, " weights"],
    parts: Sequence[Float64[np.ndarray, "corners weights"]],
) -> tuple[Float64[np.ndarray, " weights"], list[Float64[np.ndarray, " corners"]]]:
    r"""The shortest $b + \sum_p s_p$ with each $s_p$ in the convex hull of its rows.

    By active sets, as in Lawson and Hanson's method: the corner that promises most
    joins, and the shares of all that carry the point follow from least squares, whose
    accuracy they have. Each step shortens the point, so that it ends. Where there are
    many parts they start from some steps of a projected gradient.

    Args:
        base: $b$.
        parts: The rows of each $s_p$.

    Returns:
        The point, and the shares of the rows of each part, of sum one.

    Raises:
        RuntimeError: If it does not end, by rounding.

    References:
        Lawson and Hanson (1974), "Solving Least Squares Problems", chapter 23. Wolfe
        (1976), "Finding the nearest point in a polytope", Mathematical Programming 11.
    """
    if not parts:
        return base, []
    part = np.repeat(np.arange(len(parts)), [len(rows) for rows in parts])
    first = np.searchsorted(part, np.arange(len(parts)))
    # The triangular factor has the same lengths in as few dimensions as there are rows.
    _, triangle = np.linalg.qr(np.vstack([base, *parts]).T)
    origin, rows = triangle[:, 0], triangle[:, 1:].T
    lengths = np.linalg.norm(rows, axis=1)
    noise = NOISE * EPS * (np.linalg.norm(origin) + np.sum(lengths))
    spans = np.maximum(np.maximum.reduceat(lengths, first)[part], 1e-300)

    shares = np.zeros(len(part))
    shares[first] = 1.0
    if len(parts) > MANY:
        shares = _warmed(origin, rows, part, first, spans, shares)
    stuck = np.zeros(len(part), bool)
    for _ in range(100 * len(part)):
        point = origin + shares @ rows
        pulls = rows @ point
        levels = np.add.reduceat(shares * pulls, first)
        gains = np.where((shares > 0) | stuck, 0.0, (levels[part] - pulls) / spans)
        best = np.argmax(gains)
        if gains[best] <= noise:
            full = base + shares @ np.vstack(parts)
            return full, np.split(shares, first[1:])
        trial = _settled(origin, rows, part, shares, int(best))
        shorter = np.linalg.norm(origin + trial @ rows) < np.linalg.norm(point)
        stuck = np.zeros_like(stuck) if shorter else stuck
        stuck[best] = not shorter
        shares = trial if shorter else shares
    raise RuntimeError(
        f"The shortest of {len(part)} generalized gradients was not found: they are "
        "dependent to the last digits. Lower `active_tol`."
    )


def _warmed(origin, rows, part, first, spans, shares) -> Float64[np.ndarray, " rows"]:
    """Shares to start from: approximate ones, if they are better than these."""
    guess = _approximate(origin, rows, part, first, spans)
    guess = _settled(origin, rows, part, guess, int(np.argmax(guess)))
    pair = (shares, guess)
    return min(pair, key=lambda some: np.linalg.norm(origin + some @ rows))


def _approximate(origin, rows, part, first, spans) -> Float64[np.ndarray, " rows"]:
    """Shares near the best, by an accelerated gradient (Nesterov's, with restarts)."""
    scaled = rows / spans[:, None]
    step = 1 / np.linalg.norm(scaled, 2) ** 2
    last = ahead = np.where(np.isin(np.arange(len(part)), first), spans, 0.0)
    momentum = 1.0
    for _ in range(WARM):
        pulls = scaled @ (origin + ahead @ scaled)
        new = _onto_simplices(ahead - step * pulls, part, first, spans[first])
        if pulls @ (new - last) > 0:
            momentum = 1.0
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / faster * (new - last)
        last, momentum = new, faster
    shares = last / spans
    shares = np.where(shares < SURE, 0.0, shares)
    return shares / np.add.reduceat(shares, first)[part]


def _onto_simplices(values, part, first, totals) -> Float64[np.ndarray, " rows"]:
    """The nearest values, not negative, whose sum in each part is its total."""
    counts = np.bincount(part)
    places = np.arange(len(part)) - first[part]
    table = np.full((len(counts), np.max(counts)), -np.inf)
    table[part, places] = values
    order = -np.sort(-table, axis=1)
    number = np.arange(1, table.shape[1] + 1)
    there = number <= counts[:, None]
    excess = np.cumsum(np.where(there, order, 0.0), axis=1) - totals[:, None]
    above = there & (np.where(there, order, 0.0) * number > excess)
    count = np.sum(above, axis=1)
    level = excess[np.arange(len(counts)), count - 1] / count
    return np.maximum(values - level[part], 0.0)


def nearest_in_cone(
    target: Float64[np.ndarray, " weights"], hulls: Sequence[Hull]
) -> tuple[Float64[np.ndarray, " hulls"], Float64[np.ndarray, " weights"]]:
    r"""The point of a cone over hulls that is nearest to a vector.

    $\sum_h \lambda_h g_h$ with $\lambda \geq 0$ and $g_h$ in hull $h$: non-negative
    least squares over corners, joined by the farthest corner of each hull along the
    residual until none leads on.

    Args:
        target: The vector.
        hulls: One for each multiplier.

    Returns:
        $\lambda$, and the residual.
    """
    owners: list[int] = []
    corners: list[np.ndarray] = []
    best, rest = np.zeros(len(hulls)), target
    while True:
        known = len(corners)
        for owner, hull in enumerate(hulls):
            corner = hull.farthest(rest)
            size = np.linalg.norm(corner) * np.linalg.norm(target)
            if corner @ rest > NOISE * EPS * size:
                owners.append(owner)
                corners.append(corner)
        if len(corners) == known:
            return best, rest
        multipliers = nonnegative_multipliers(target, np.stack(corners))
        residual = target - multipliers @ np.stack(corners)
        if np.linalg.norm(residual) >= np.linalg.norm(rest):
            return best, rest
        best, rest = np.bincount(owners, multipliers, len(hulls)), residual


def _settled(origin, rows, part, shares, joining: int) -> Float64[np.ndarray, " rows"]:
    """The shares once a row has joined those that carry the point."""
    carrying = shares > 0
    carrying[joining] = True
    while True:
        target = _carried(origin, rows, part, shares, carrying)
        falling = carrying & (target <= 0)
        if not np.any(falling):
            return target
        room = shares - target
        steps = np.where(
            falling & (room > 0), shares / np.where(room > 0, room, 1), 1.0
        )
        leaving = np.flatnonzero(falling)[np.argmin(steps[falling])]
        shares = np.maximum(shares + steps[leaving] * (target - shares), 0.0)
        shares[leaving] = 0.0
        carrying[leaving] = False


def _carried(
    origin, rows, part, shares, carrying: Bool[np.ndarray, " rows"]
) -> Float64[np.ndarray, " rows"]:
    """The shares, of any sign, of the shortest point that some rows carry."""
    order = np.lexsort((-np.where(carrying, shares, -1.0), part))
    first = order[np.searchsorted(part, np.unique(part))]  # the largest of each part
    free = carrying.copy()
    free[first] = False
    differences = rows[free] - rows[first][part[free]]
    start = origin + np.sum(rows[first], axis=0)
    moved = np.linalg.lstsq(differences.T, -start)[0]
    target = np.zeros(len(part))
    target[free] = moved
    target[first] = 1 - np.bincount(part[free], moved, len(first))
    return target
