"""A Butcher tableau of Diffrax as square arrays, with the solution inside a step."""

import dataclasses

import diffrax as dfx
import numpy as np


@dataclasses.dataclass(frozen=True)
class StageTable:
    """What an ESDIRK step needs of its tableau.

    Attributes:
        a: Lower triangle without the diagonal, shape (stages, stages).
        predictor: Weights that guess a stage's velocity from those before it.
        gamma: The diagonal, one number for all stages but the explicit first.
        error: Weights of the embedded error estimate.
        quarters: Weights of the solution at the quarters of the step, one row each.
        values: Weights of what the stages give at the quarters, one row each.
        nodes: The times of the stages, as fractions of the step.
    """

    a: np.ndarray
    predictor: np.ndarray
    gamma: float
    error: np.ndarray
    quarters: np.ndarray
    values: np.ndarray
    nodes: np.ndarray


def stage_table(tableau: dfx.ButcherTableau, order: int) -> StageTable:
    """The table of a stiffly accurate ESDIRK tableau of stage order 2.

    The solution at the quarters satisfies the order conditions there up to order
    min(order, 4), and is right to third order in stiff directions too: there the
    positions of the stages are, and their slopes are not. Among all weights that do,
    the smallest are taken.
    """
    stages = tableau.num_stages
    diagonal, guesses = tableau.a_diagonal, tableau.a_predictor
    assert diagonal is not None, "Its stages are implicit."
    assert guesses is not None, "They are guessed from those before."
    a, predictor = np.zeros((2, stages, stages))
    for i in range(1, stages):
        a[i, :i] = tableau.a_lower[i - 1]
        predictor[i, :i] = guesses[i - 1]
    gamma = float(diagonal[-1])
    full = a + np.diag(diagonal)
    c = full.sum(axis=1)
    assert np.allclose(full @ c, c**2 / 2, atol=1e-12), "Stage order 2."
    assert np.allclose(full[-1], tableau.b_sol), "Stiffly accurate."
    inner = (0.25, 0.5, 0.75)
    quarters = np.array([_inside(full, c, order, at) for at in inner])
    # The smallest weights that are right for polynomials, up to cubics.
    count = min(np.unique(c.round(12)).size, 4)
    powers, wanted = (np.vander(at, count, increasing=True).T for at in (c, inner))
    values = np.linalg.lstsq(powers, wanted)[0].T
    assert np.allclose(values @ powers.T, wanted.T, atol=1e-12)
    error = np.asarray(tableau.b_error)
    return StageTable(a, predictor, gamma, error, quarters, values, c)


def _inside(full: np.ndarray, c: np.ndarray, order: int, at: float) -> np.ndarray:
    """The weights of the solution after a fraction of the step."""
    # From the positions of the implicit stages to a cubic's.
    positions = np.linalg.solve(full[1:, 1:].T, np.eye(len(c) - 1)).T @ c[1:] ** 3
    conditions = [(c**0, at), (c, at**2 / 2), (c**2, at**3 / 3)]
    conditions.append((np.append(0.0, positions), at**3))
    if order >= 4:
        conditions += [(c**3, at**4 / 4), (full @ c**2, at**4 / 12)]
    rows, values = map(np.array, zip(*conditions, strict=True))
    weights = np.linalg.lstsq(rows, values)[0]
    assert np.allclose(rows @ weights, values, atol=1e-12), "The conditions can be met."
    return weights
