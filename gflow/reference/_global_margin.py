import dataclasses

import equinox as eqx
import numpy as np
import scipy.linalg
import scipy.optimize
from jaxtyping import ArrayLike, Float64

from .._checks import checked_array
from ._exact import exact_solution
from ._hard_margin import checked_points


TIGHT = 1e-9
CLIMB = 200  # steps of one ascent
ALIKE = 1e-12  # directions this near are one
SMOOTH = 0.5  # of the best weights so far, in those that price; steadies them


@dataclasses.dataclass(frozen=True)
class GlobalMargin:
    r"""The largest margin of a wide two-layer network.

    Attributes:
        margin: $\gamma$, reached by `directions` and `shares`.
        bound: What the best direction that was found would allow, at least $\gamma$;
            a bound of the margin over all directions if that search missed none.
        directions: Unit vectors, one neuron a row.
        shares: The signed measure on them, $\sum_j |\nu_j| = 1$.
        weights: $q$ of the simplex over samples, the proof: no neuron that was found
            correlates with $q$ by more than `bound`.
    """

    margin: float
    bound: float
    directions: Float64[np.ndarray, "neurons features"]
    shares: Float64[np.ndarray, " neurons"]
    weights: Float64[np.ndarray, " samples"]

    def __repr__(self) -> str:
        return eqx.tree_pformat(self)


def global_margin(
    x: ArrayLike,
    y: ArrayLike,
    directions: ArrayLike | None = None,
    *,
    starts: int = 20,
    seed: int = 0,
    tolerance: float = 1e-8,
    max_rounds: int = 100,
) -> GlobalMargin:
    r"""The largest margin over all two-layer networks, of any width.

    $$\gamma = \max_{\|\nu\|_1 \leq 1} \min_i y_i \int \sigma(\langle v, x_i\rangle)
      \, d\nu(v), \qquad |v| = 1$$

    a linear program over a dictionary of neurons. The program's dual $q$ prices
    neurons that are not in it, once it is drawn to the best $q$ so far (which steadies
    it where it is not unique): the best found by ascent of $|\sum_i q_i y_i \sigma(
    \langle v, x_i \rangle)|$ from many starts join, until none is better. That ascent
    is not convex, so in many dimensions `bound` rests on the number of starts. With
    both layers trained the normalized margin is at most $\gamma / 2$.

    Args:
        x: The points, shape (samples, features).
        y: Their labels, -1 or +1, shape (samples,).
        directions: Neurons of the first dictionary, one a row, of any length; by
            default the starts.
        starts: Random directions that ascents start from, beside those in use.
        seed: Of the random directions.
        tolerance: How far `bound` may stay above the margin, relative.
        max_rounds: Linear programs, at most.

    Returns:
        The margin, a network that reaches it, and the weights that bound it.

    Raises:
        ValueError: If an argument has the wrong shape, or no network of the dictionary
            fits the labels.

    Example:
        `global_margin(*gflow.data.parity(3)).margin` is $1 / \sqrt{24}$.

    References:
        Telgarsky (2022), "Feature selection with gradient descent on two-layer networks
        in low-rotation regimes", arXiv:2208.02789, where it is $\gamma_{\mathrm{gl}}$.
    """
    points, labels = checked_points(x, y)
    if max_rounds < 1:
        raise ValueError(f"`max_rounds` must be at least 1, but is {max_rounds}.")
    some = np.any(points != 0, axis=1)
    if not np.all(some):
        raise ValueError(
            "`x` must hold no point at the origin, where every network without biases "
            f"is zero, but row {np.argmin(some)} is one. Remove it."
        )
    rays, opposed = unit_rows(points), labels[:, None] * labels < 0
    if np.any(opposed & (rays @ rays.T > 1 - ALIKE)):
        raise ValueError(
            "`y` must not give both labels to one point, or to two on one ray from the "
            "origin: no network without biases fits them. Remove one of each pair."
        )
    random = np.random.default_rng(seed)
    fresh = unit_rows(random.normal(size=(starts, points.shape[1])))
    chosen = fresh if directions is None else checked_rows(directions, points)
    found, largest = priced_out(points, labels, chosen, fresh, tolerance, max_rounds)
    if found.margin <= TIGHT * largest:
        raise ValueError(
            "`directions` must hold neurons that fit the labels, but their largest "
            f"margin is {found.margin:.3g}. Pass more, or more `starts`."
        )
    return found


def checked_rows(directions, points) -> Float64[np.ndarray, "neurons features"]:
    """Neurons as unit vectors, or an error."""
    chosen = checked_array(directions, "directions")
    if chosen.ndim != 2 or chosen.shape[1:] != points.shape[1:]:
        raise ValueError(
            f"`directions` must have shape (neurons, {points.shape[1]}), but has "
            f"shape {chosen.shape}."
        )
    return unit_rows(chosen)


def priced_out(
    points, labels, chosen, fresh, tolerance: float, max_rounds: int
) -> tuple[GlobalMargin, float]:
    """The best network, once no neuron is worth adding, and the largest output.

    Args:
        points: The inputs.
        labels: Of them.
        chosen: The first dictionary.
        fresh: What ascents start from, beside the neurons in use.
        tolerance: How far the bound may stay above the margin, relative.
        max_rounds: Linear programs, at most.
    """
    margin, best, rows, shares = 0.0, fresh[:0], fresh[:0], np.zeros(0)
    center, bound = np.full(len(points), 1 / len(points)), np.inf
    for turn in range(max_rounds):
        rows = labels[:, None] * neurons(points, chosen)
        margin, shares, weights = solved_game(rows)
        used = np.abs(shares) > 0
        best, shares = chosen[used], shares[used]
        # Bounds by few starts are checked by all before they are believed.
        if turn == 0 or bound <= margin * (1 + tolerance):
            found, values = price(points, labels * center, np.vstack([best, fresh]))
            bound = float(np.max(values))
            if bound <= margin * (1 + tolerance):
                break
        else:
            priced = SMOOTH * center + (1 - SMOOTH) * weights
            found, values = price(points, labels * priced, best)
            if np.max(values) < bound:
                center, bound = priced, float(np.max(values))
        chosen = distinct(np.vstack([best, found[values > margin]]))
    else:
        _, values = price(points, labels * center, np.vstack([best, fresh]))
        bound = float(np.max(values))
    network = GlobalMargin(margin, max(bound, margin), best, shares, center)
    return network, float(np.max(np.abs(rows)))


def price(points, pulls, starts):
    """The neurons of locally largest correlation of either sign, and these."""
    climbs = [ascend(points, sign * pulls, v) for sign in (1.0, -1.0) for v in starts]
    directions = distinct(np.array([direction for direction, _ in climbs]))
    return directions, np.abs(pulls @ neurons(points, directions))


def neurons(points, directions):
    """The output of each neuron at each point."""
    return np.maximum(points @ directions.T, 0.0)


def ascend(points, pulls, start):
    """A direction of locally largest correlation of a neuron with the pulls.

    The correlation is a difference of convex functions. The one with plus is replaced
    by its tangent; what is left is concave, and its maximum on the ball is the
    residual of least squares with bounds, kinks included. So it never falls.

    Args:
        points: The inputs.
        pulls: One a point, of either sign.
        start: A unit vector.

    Returns:
        The direction, of norm one, and its correlation.
    """
    rising, falling = np.maximum(pulls, 0.0), np.maximum(-pulls, 0.0)
    braking = (falling[:, None] * points)[falling > 0].T
    direction, best = start, pulls @ neurons(points, start)
    for _ in range(CLIMB):
        uphill = (rising * (points @ direction >= 0)) @ points
        residual = uphill
        if braking.size:
            fit = scipy.optimize.lsq_linear(braking, uphill, (0.0, 1.0), method="bvls")
            residual = uphill - braking @ fit.x
        size = np.linalg.norm(residual)
        if size <= ALIKE * np.linalg.norm(uphill):
            break
        value = pulls @ neurons(points, residual / size)
        if not value > best + ALIKE * abs(best):
            break
        direction, best = residual / size, value
    return direction, best


def solved_game(rows):
    """The value of a matrix game of signed columns, and both players' mixtures.

    The square system of a vertex of the linear program is solved again, exactly.
    """
    samples, columns = rows.shape
    found = scipy.optimize.linprog(
        c=np.append(np.zeros(2 * columns), -1.0),
        A_ub=np.hstack([-rows, rows, np.ones((samples, 1))]),
        b_ub=np.zeros(samples),
        A_eq=np.append(np.ones(2 * columns), 0.0)[None],
        b_eq=np.ones(1),
        bounds=[(0, None)] * (2 * columns) + [(None, None)],
        method="highs-ds",
    )
    shares = found.x[:columns] - found.x[columns:-1]
    weights = -found.ineqlin.marginals
    used = np.flatnonzero(np.abs(shares) > TIGHT)
    pushing = np.flatnonzero(weights > TIGHT)
    value = -found.fun
    tight = np.flatnonzero(
        np.abs(rows @ shares - value) <= TIGHT * np.max(np.abs(rows))
    )
    level = np.abs(np.abs(weights @ rows) - value) <= TIGHT * np.max(np.abs(rows))
    signs = np.sign(weights @ rows)
    exact_shares, margin = mixture(rows[:, used] * signs[used], tight)
    exact_weights, _ = mixture((rows[pushing] * signs).T, np.flatnonzero(level))
    shares, weights = np.zeros(columns), np.zeros(samples)
    shares[used], weights[pushing] = exact_shares * signs[used], exact_weights
    return margin, shares, weights


def mixture(columns, tight):
    """Shares of sum one that make all tight rows equal, and their value."""
    count = columns.shape[1]
    *_, order = scipy.linalg.qr(columns[tight].T, mode="r", pivoting=True)
    rows = columns[tight[order[:count]]]
    matrix = np.block([[rows, -np.ones((len(rows), 1))], [np.ones((1, count)), 0.0]])
    solution = exact_solution(matrix, np.append(np.zeros(len(rows)), 1.0))
    return solution[:-1], float(solution[-1])


def unit_rows(rows):
    """Rows of norm one; those that are zero are left out."""
    sizes = np.linalg.norm(rows, axis=1)
    return rows[sizes > 0] / sizes[sizes > 0, None]


def distinct(rows):
    """Rows without repetitions."""
    _, first = np.unique(np.round(rows / 1e-9), axis=0, return_index=True)
    return rows[np.sort(first)]
