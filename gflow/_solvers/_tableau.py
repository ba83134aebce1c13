"""A Butcher tableau of Diffrax as square arrays, with a fourth-order midpoint."""

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
        midpoint: Weights of the solution half-way through the step.
        nodes: The times of the stages, as fractions of the step.
    """

    a: np.ndarray
    predictor: np.ndarray
    gamma: float
    error: np.ndarray
    midpoint: np.ndarray
    nodes: np.ndarray


def stage_table(tableau: dfx.ButcherTableau, order: int) -> StageTable:
    """The table of a stiffly accurate ESDIRK tableau of stage order 2.

    The midpoint satisfies the order conditions at 1/2 up to order min(order, 4); among
    all weights that do, the smallest are taken.
    """
    stages = tableau.num_stages
    a, predictor = np.zeros((2, stages, stages))
    for i in range(1, stages):
        a[i, :i] = tableau.a_lower[i - 1]
        predictor[i, :i] = tableau.a_predictor[i - 1]
    gamma = float(tableau.a_diagonal[-1])
    full = a + np.diag(tableau.a_diagonal)
    c = full.sum(axis=1)
    assert np.allclose(full @ c, c**2 / 2, atol=1e-12), "Stage order 2."
    assert np.allclose(full[-1], tableau.b_sol), "Stiffly accurate."
    conditions = [(c**0, 1 / 2), (c, 1 / 8), (c**2, 1 / 24)]
    if order >= 4:
        conditions += [(c**3, 1 / 64), (full @ c**2, 1 / 192)]
    rows, values = map(np.array, zip(*conditions, strict=True))
    midpoint = np.linalg.lstsq(rows, values)[0]
    assert np.allclose(rows @ midpoint, values, atol=1e-12), (
        "The conditions can be met."
    )
    error = np.asarray(tableau.b_error)
    return StageTable(a, predictor, gamma, error, midpoint, c)
