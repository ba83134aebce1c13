"""Equations solved to the last bits, by refinement with exact residuals."""

import math

import numpy as np
from jaxtyping import Float64


SPLITTER = 2.0**27 + 1.0
REFINEMENTS = 40
CONVERGED = 1e-13  # the last correction; what is left is smaller still
EPS = float(np.finfo(np.float64).eps)


def exact_dot(
    rows: Float64[np.ndarray, "samples features"],
    vector: Float64[np.ndarray, " features"],
    minus: Float64[np.ndarray, " samples"],
) -> Float64[np.ndarray, " samples"]:
    """`rows @ vector - minus`, each entry rounded once.

    Exact unless a product overflows or falls below 1e-290.

    Args:
        rows: One vector a row.
        vector: The other factor of every inner product.
        minus: What to subtract before the sum is rounded.

    Returns:
        One number a row.

    References:
        Dekker (1971), "A Floating-Point Technique for Extending the Available
        Precision": the splitting of a product into two floats.
    """
    product = rows * vector
    high_rows, high_vector = high_part(rows), high_part(vector)
    low_rows, low_vector = rows - high_rows, vector - high_vector
    error = high_rows * high_vector - product
    error = error + high_rows * low_vector + low_rows * high_vector
    error = error + low_rows * low_vector
    terms = np.concatenate([product, error, -minus[:, None]], axis=1)
    return np.array([math.fsum(row) for row in terms])


def high_part(value: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """The leading 26 bits of each entry."""
    scaled = SPLITTER * value
    return scaled - (scaled - value)


def shortest_solution(
    rows: Float64[np.ndarray, "samples features"],
) -> tuple[Float64[np.ndarray, " features"], Float64[np.ndarray, " samples"]]:
    r"""The shortest $w$ with $A w = 1$, and $\lambda$ with $w = A^\top \lambda$.

    Corrections from a QR factorization are repeated, on residuals rounded once, until
    they no longer shrink. Each multiplies the error by about cond(A) eps; so both
    solutions come out right to a few eps, in norm, unless cond(A) nears 1 / eps.

    Args:
        rows: The matrix $A$, of full row rank.

    Returns:
        $w$ and $\lambda$.

    Raises:
        RuntimeError: If the rows are so nearly dependent that nothing converges.

    References:
        Björck (1967), "Iterative refinement of linear least squares solutions I": the
        refinement of both unknowns at once.
    """
    samples, features = rows.shape
    w, multipliers = np.zeros(features), np.zeros(samples)
    q, r = np.linalg.qr(rows.T)
    last = math.inf
    for _ in range(REFINEMENTS):
        gap = -exact_dot(rows, w, np.ones(samples))
        drift = exact_dot(rows.T, multipliers, w)
        # dw - A^T dlambda = drift and A dw = gap, in the coordinates of Q.
        along = np.linalg.solve(r.T, gap)
        step = q @ along + (drift - q @ (q.T @ drift))
        change = np.linalg.solve(r, along - q.T @ drift)
        size = max(
            np.linalg.norm(step) / np.linalg.norm(w + step),
            np.linalg.norm(change) / np.linalg.norm(multipliers + change),
        )
        if size >= last:
            break
        w, multipliers, last = w + step, multipliers + change, size
        if size <= EPS:
            break
    if not last < CONVERGED:
        raise RuntimeError(
            "`rows` must be independent, but are dependent to the last digits: "
            f"refinement stopped at a relative error of {last:.1e}. Merge the "
            "points that differ by rounding alone."
        )
    return w, multipliers


def exact_solution(
    matrix: Float64[np.ndarray, "size size"], target: Float64[np.ndarray, " size"]
) -> Float64[np.ndarray, " size"]:
    """The solution of a square system, right to a few eps in norm.

    Args:
        matrix: A square matrix.
        target: The right-hand side.

    Returns:
        The solution.

    Raises:
        RuntimeError: If the matrix is so nearly singular that nothing converges.
    """
    solution, last = np.zeros(len(target)), math.inf
    q, r = np.linalg.qr(matrix)
    singular = np.min(np.abs(np.diag(r)), initial=math.inf) == 0
    for _ in range(0 if singular else REFINEMENTS):
        step = np.linalg.solve(r, q.T @ -exact_dot(matrix, solution, target))
        size = np.linalg.norm(step) / max(np.linalg.norm(solution + step), 1e-300)
        if size >= last:
            break
        solution, last = solution + step, size
        if size <= EPS:
            break
    if not last < CONVERGED:
        raise RuntimeError(
            "`matrix` must be regular, but refinement stopped at a relative error of "
            f"{last:.1e}. Merge points that differ by rounding alone."
        )
    return solution
