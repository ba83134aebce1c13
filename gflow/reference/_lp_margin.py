r"""Largest margins in the norms whose unit balls are polytopes.

$\min \|w\|$ subject to $A w \geq 1$ is a linear program. HiGHS tells which constraints
hold with equality at a vertex; these are then solved as equations, exactly.
"""

from typing import Literal

import numpy as np
import scipy.linalg
import scipy.optimize
from jaxtyping import Float64

from ._exact import exact_dot, exact_solution


TIGHT = 1e-8  # what the simplex method calls zero here
FINE = 1e-12  # violations of the conditions that are left after the polish

PolytopeNorm = Literal["l1", "linf"]


def lp_margin(
    rows: Float64[np.ndarray, "samples features"], norm: PolytopeNorm
) -> tuple[Float64[np.ndarray, " features"], float, Float64[np.ndarray, " samples"]]:
    r"""The smallest $w$ with $A w \geq 1$, its norm, and the multipliers.

    Args:
        rows: $A$, entries about one.
        norm: Of $w$.

    Returns:
        $w$, $\|w\|$, and $\lambda \geq 0$ with $A^\top \lambda$ in the
        subdifferential of the norm; $\sum \lambda_i = \|w\|$.

    Raises:
        ValueError: If no $w$ separates.
        RuntimeError: If the vertex is degenerate beyond repair.
    """
    program = l1_program(rows) if norm == "l1" else linf_program(rows)
    found = scipy.optimize.linprog(**program, method="highs-ds")
    if found.status != 0:
        raise ValueError(
            "`x` and `y` must be separable by a plane through the origin, but are not: "
            f"{found.message} Check the labels, or add a constant feature for a bias."
        )
    features = rows.shape[1]
    if norm == "l1":
        guess = found.x[:features] - found.x[features:]
        size = float(np.max(np.abs(guess)))
        shape = np.diag(np.sign(guess))[:, np.abs(guess) > TIGHT * size]
    else:
        guess, size = found.x[:features], float(found.x[features])
        bound = np.abs(guess) >= size * (1 - TIGHT)
        signs = np.where(bound, np.sign(guess), 0.0)
        # Where w is not unique the simplex method leaves some of it at zero.
        inner = ~bound & (np.abs(guess) > TIGHT * size)
        shape = np.column_stack([signs, np.eye(features)[:, inner]])
    w = primal(rows, guess, shape)
    multipliers = dual(rows, -found.ineqlin.marginals[: len(rows)], norm)
    largest = float(np.sum(np.abs(w)) if norm == "l1" else np.max(np.abs(w)))
    prove(rows, w, multipliers, largest, norm)
    return w, largest, np.maximum(multipliers, 0.0)


def l1_program(rows):
    """Minimize the sum of the positive and negative parts."""
    return {
        "c": np.ones(2 * rows.shape[1]),
        "A_ub": np.hstack([-rows, rows]),
        "b_ub": -np.ones(len(rows)),
        "bounds": (0, None),
    }


def linf_program(rows):
    """Minimize a bound of all entries."""
    samples, features = rows.shape
    unit, last = np.eye(features), np.ones((features, 1))
    return {
        "c": np.append(np.zeros(features), 1.0),
        "A_ub": np.block(
            [[-rows, np.zeros((samples, 1))], [unit, -last], [-unit, -last]]
        ),
        "b_ub": np.append(-np.ones(samples), np.zeros(2 * features)),
        "bounds": (None, None),
    }


def primal(rows, guess, shape):
    """The vertex w = V u, from as many independent tight rows as it has unknowns."""
    tight = np.flatnonzero(np.abs(rows @ guess - 1) <= TIGHT)
    reduced = rows @ shape
    chosen = tight[independent(reduced[tight].T, shape.shape[1])]
    return shape @ exact_solution(reduced[chosen], np.ones(len(chosen)))


def dual(rows, guess, norm):
    r"""The multipliers of the rows that push, from as many independent equations.

    These are what is tight of the pull $A^\top \lambda$: its largest entries are one,
    in the norm dual to l1; else their sum is, and some are zero.
    """
    pushing = np.flatnonzero(guess > TIGHT * np.max(guess))
    pull = rows.T @ guess
    if norm == "l1":
        shape = np.diag(np.sign(pull))[:, np.abs(pull) > 1 - TIGHT]
        cost = np.ones(shape.shape[1])
    else:
        none = np.abs(pull) <= TIGHT * np.max(np.abs(pull))
        signs = np.where(none, 0.0, np.sign(pull))
        shape = np.column_stack([signs, np.eye(len(pull))[:, none]])
        cost = np.eye(1, shape.shape[1])[0]
    reduced = (rows @ shape)[pushing]
    chosen = independent(reduced, len(pushing))
    multipliers = np.zeros(len(rows))
    multipliers[pushing] = exact_solution(reduced[:, chosen].T, cost[chosen])
    return multipliers


def independent(columns, count):
    """Which columns are most independent."""
    *_, order = scipy.linalg.qr(columns, mode="r", pivoting=True)
    return np.sort(order[:count])


def prove(rows, w, multipliers, size, norm):
    """All conditions of optimality, with exact residuals; an error if one fails."""
    pull = rows.T @ multipliers
    dual_size = np.max(np.abs(pull)) if norm == "l1" else np.sum(np.abs(pull))
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(w)
    broken = (
        np.min(exact_dot(rows, w, np.ones(len(rows))) / lengths) < -FINE
        or np.min(multipliers) < -FINE * size
        or abs(dual_size - 1) > FINE * (1 + np.sum(np.abs(rows) * multipliers[:, None]))
        or abs(np.sum(multipliers) - size) > FINE * size
    )
    if broken:
        raise RuntimeError(
            "`x` is degenerate but for rounding: the vertex of largest margin could "
            "not be proved. Merge points that nearly coincide."
        )
