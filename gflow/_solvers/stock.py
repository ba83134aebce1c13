"""Diffrax's own solvers on the polar field."""

import dataclasses
from typing import TypeGuard

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optimistix as optx

from .sample_space import AbstractSampleSpaceSolver
from .switching import Switching


STAGE_FRACTION = 1e-2
"""How far below `rtol` the stages of an implicit step are solved."""


def is_own(
    solver: dfx.AbstractAdaptiveSolver,
) -> TypeGuard[AbstractSampleSpaceSolver | Switching]:
    """Whether its steps begin and end with dual weights and slopes."""
    return isinstance(solver, AbstractSampleSpaceSolver | Switching)


def prepare(
    solver: dfx.AbstractAdaptiveSolver, rtol: float
) -> dfx.AbstractAdaptiveSolver:
    """The solver with the tolerance of its stages set.

    Diffrax's default root finder, `VeryChord`, takes any stage that has not converged
    in two iterations for diverged, and takes half its steps in vain here. It is
    replaced by `optimistix.Newton`; a root finder that the user chose is kept.

    Raises:
        ValueError: If `solver` is not an instance of an adaptive Diffrax solver.
    """
    if not isinstance(solver, dfx.AbstractAdaptiveSolver):
        raise ValueError(
            "`solver` must be an adaptive Diffrax solver such as "
            f"`gflow.solvers.Switching()`, but is {solver!r}."
        )
    tolerance = jnp.asarray(np.float64(STAGE_FRACTION * rtol))
    if isinstance(solver, Switching):
        return eqx.tree_at(lambda s: s.implicit.stage_tol, solver, tolerance)
    if isinstance(solver, AbstractSampleSpaceSolver):
        return eqx.tree_at(lambda s: s.stage_tol, solver, tolerance)
    if isinstance(solver, dfx.AbstractImplicitSolver) and isinstance(
        solver.root_finder, dfx.VeryChord
    ):
        newton = eqx.tree_at(
            lambda finder: (finder.rtol, finder.atol),
            optx.Newton(rtol=STAGE_FRACTION, atol=STAGE_FRACTION),
            (tolerance, tolerance),
        )
        return dataclasses.replace(solver, root_finder=newton, root_find_max_steps=20)
    return solver


def gradients_per_attempt(solver: dfx.AbstractAdaptiveSolver) -> float:
    """Gradients of the loss that one attempted step takes, where they can be counted.

    NaN for implicit solvers of Diffrax, which do not say how often they iterate.
    """
    if isinstance(solver, dfx.AbstractERK):
        tableau = solver.tableau
        assert isinstance(tableau, dfx.ButcherTableau), "Only additive ones have two."
        return float(len(tableau.b_sol))
    return float("nan")
