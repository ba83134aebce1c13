import dataclasses
import math

import numpy as np
from jaxtyping import ArrayLike, Float64, Int

from ._exact import EPS, exact_dot, shortest_solution


INDEPENDENT = 1e-12  # a smaller part of a point outside a span is rounding
SEPARATED = 1e-12  # so is a smaller margin, in units of the longest point
ON_MARGIN = 1e-12
COARSE, FINE = 1e-9, 8 * EPS  # violations, in units of |x_i| |w|


@dataclasses.dataclass(frozen=True)
class HardMargin:
    r"""The hard-margin classifier of some points, and the proof that it is one.

    Attributes:
        weights: The shortest $w$ with $y_i \langle x_i, w \rangle \geq 1$ for all $i$.
        margin: $1 / \|w\|$, the largest linear margin.
        direction: $w / \|w\|$.
        support: The points on the margin, $y_i \langle x_i, w \rangle = 1$ within
            1e-12 $\|x_i\| \|w\|$; increasing.
        multipliers: $\lambda \geq 0$ with $w = \sum_i \lambda_i y_i x_i$, zero off the
            margin. They sum to $\|w\|^2$. If the points on the margin are dependent
            there are many such $\lambda$; this one lives on independent points.
    """

    weights: Float64[np.ndarray, " features"]
    margin: float
    direction: Float64[np.ndarray, " features"]
    support: Int[np.ndarray, " support"]
    multipliers: Float64[np.ndarray, " samples"]


def hard_margin(x: ArrayLike, y: ArrayLike) -> HardMargin:
    r"""The linear classifier of largest margin, through the origin.

    $$\min_w \tfrac12 \|w\|^2 \quad \text{such that} \quad
      y_i \langle x_i, w \rangle \geq 1$$

    Where gradient flow on a linear model ends, and for $L$ linear layers, whose largest
    normalized margin is `margin` / $L^{L/2}$. A dual active-set method finds the
    support; the equations on it are then solved with exact residuals, and every
    constraint is tested at that point. So $w$ and $\lambda$ themselves, not merely
    their residuals, are right to about 1e-15 in norm, also where points are repeated
    or the support is degenerate (2e-15 was the worst found on trial, for points that
    are 1e-14 apart). Meant for up to some hundreds of support points: 300 take seconds.

    Args:
        x: The points, shape (samples, features).
        y: Their labels, -1 or +1, shape (samples,). One class alone is allowed.

    Returns:
        The weights, their margin, and the multipliers that prove them.

    Raises:
        ValueError: If an argument has the wrong shape, or holds NaN, inf or other
            labels, or no plane through the origin separates the points with a margin
            of 1e-12 times the longest of them.
        RuntimeError: If points are dependent but for rounding, so that the support
            has no definite answer.

    Example:
        `gflow.reference.hard_margin([[1.0, 2.0], [2.0, 1.0]], [1, 1]).weights`
        is (1/3, 1/3).

    References:
        Goldfarb and Idnani (1983), "A numerically stable dual method for solving
        strictly convex quadratic programs", Mathematical Programming 27.
    """
    points, labels = checked_points(x, y)
    # A power of two, so that nothing is rounded.
    exponent = math.frexp(float(np.max(np.abs(points), initial=0.0)))[1]
    rows = np.ldexp(labels[:, None] * points, -exponent)
    lengths = np.linalg.norm(rows, axis=1)
    if not np.all(lengths > 0):
        raise ValueError(
            f"`x` must hold no zero point, but x[{np.argmin(lengths)}] is zero: no "
            "plane through the origin separates it. Remove it, or add a constant "
            "feature for a bias."
        )
    basis, w, multipliers = active_set(rows, lengths)
    margins = exact_dot(rows, w, np.ones(len(rows)))
    on = np.abs(margins) <= ON_MARGIN * lengths * np.linalg.norm(w)
    every = np.zeros(len(rows))
    every[basis] = np.maximum(multipliers, 0.0)
    weights = np.ldexp(w, -exponent)
    size = float(np.linalg.norm(w))
    return HardMargin(
        weights=weights,
        margin=math.ldexp(1 / size, exponent),
        direction=w / size,
        support=np.flatnonzero(on | (every > 0)),
        multipliers=np.ldexp(every, -2 * exponent),
    )


def active_set(rows, lengths):
    """Independent rows that hold the shortest w with `rows @ w >= 1`.

    Adds the worst violated row, drops those whose multiplier turns negative, and so on:
    |w| grows until no row is violated. Coarse first, then with exact residuals.
    """
    samples, features = rows.shape
    basis, w, multipliers = [], np.zeros(features), np.zeros(0)
    precise = False
    for _ in range(100 + 20 * (samples + features)):
        if precise:
            margins, tolerance = exact_dot(rows, w, np.ones(samples)), FINE
        else:
            margins, tolerance = rows @ w - 1, COARSE
        excess = -margins / lengths
        worst = int(np.argmax(excess))
        if basis and excess[worst] <= tolerance * np.linalg.norm(w):
            if precise:
                return basis, w, multipliers
            precise = True
        else:
            basis = exchange(rows, lengths, basis, w, multipliers, worst)
        basis, w, multipliers = feasible(rows, basis, precise)
        if np.linalg.norm(w) * np.max(lengths) * SEPARATED > 1:
            raise inseparable(1 / (np.linalg.norm(w) * np.max(lengths)))
    raise RuntimeError(
        f"`x` holds {samples} points so nearly dependent that the search for the "
        "support ran in a circle. Merge the points that differ by rounding alone."
    )


def feasible(rows, basis, precise):
    """The shortest w on the basis, less the rows that would have to push backward."""
    tolerance = FINE if precise else COARSE
    while True:
        w, multipliers = shortest_solution(rows[basis], refined=precise)
        worst = int(np.argmin(multipliers))
        if multipliers[worst] >= -tolerance * np.linalg.norm(multipliers):
            return basis, w, np.maximum(multipliers, 0.0)
        basis = [*basis[:worst], *basis[worst + 1 :]]


def exchange(rows, lengths, basis, w, multipliers, new):
    """The basis with row `new`, and without the rows that give way to it."""
    row = rows[new]
    while True:
        q, r = np.linalg.qr(rows[basis].T)
        outside = row - q @ (q.T @ row)
        outside = outside - q @ (q.T @ outside)
        share = np.linalg.solve(r, q.T @ row)
        full = math.inf
        if np.linalg.norm(outside) > INDEPENDENT * lengths[new]:
            full = (1 - row @ w) / (outside @ outside)
        else:
            outside = np.zeros_like(outside)
        gives_way = share * lengths[basis] > INDEPENDENT * lengths[new]
        ratio = np.full(len(basis), math.inf)
        ratio[gives_way] = multipliers[gives_way] / share[gives_way]
        partial = np.min(ratio, initial=math.inf)
        if full == partial == math.inf:
            raise inseparable(0.0)
        step = min(full, partial)
        w, multipliers = w + step * outside, multipliers - step * share
        if full <= partial:
            return [*basis, new]
        leaving = int(np.argmin(ratio))
        basis = [*basis[:leaving], *basis[leaving + 1 :]]
        multipliers = np.maximum(np.delete(multipliers, leaving), 0.0)


def inseparable(bound: float) -> ValueError:
    return ValueError(
        "`x` and `y` must be separable by a plane through the origin, but their linear "
        f"margin is at most {max(bound, SEPARATED):.1e} times the longest point. "
        "Check the labels, or add a constant feature for a bias."
    )


def checked_points(
    x: ArrayLike, y: ArrayLike
) -> tuple[Float64[np.ndarray, "samples features"], Float64[np.ndarray, " samples"]]:
    """Points and labels as float64 arrays, or an error that names the guilty one."""
    points, labels = np.asarray(x), np.asarray(y)
    for name, array in [("x", points), ("y", labels)]:
        if array.dtype.kind not in "fiu":
            raise ValueError(
                f"`{name}` must hold real numbers, but has {array.dtype}. "
                f"Pass `{name}.astype('float64')`."
            )
        if not np.all(np.isfinite(array)):
            raise ValueError(
                f"`{name}` must be finite, but {np.sum(~np.isfinite(array))} of its "
                f"{array.size} entries are NaN or inf. Remove these samples."
            )
    if points.ndim != 2 or points.size == 0:
        raise ValueError(
            "`x` must have shape (samples, features), at least one of each, but has "
            f"shape {points.shape}. For images, pass `x.reshape(len(x), -1)`."
        )
    if labels.shape != points.shape[:1]:
        raise ValueError(
            f"`y` must have shape {points.shape[:1]}, one label a row of `x`, but has "
            f"shape {labels.shape}. For one column, pass `y[:, 0]`."
        )
    if not np.all(np.abs(labels) == 1):
        wrong = np.unique(labels[np.abs(labels) != 1])[:4].tolist()
        raise ValueError(
            f"`y` must hold -1 and +1 only, but holds {wrong}. "
            "For labels 0 and 1, pass `2 * y - 1`."
        )
    return points.astype(np.float64), labels.astype(np.float64)
