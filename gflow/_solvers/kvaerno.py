"""Kvaerno's methods in the space of samples."""

from typing import ClassVar

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._interpolation import QuarticThroughQuarters
from ._tableau import stage_table
from .sample_space import AbstractSampleSpaceSolver


_KVAERNO3 = stage_table(dfx.Kvaerno3.tableau, order=3)
_KVAERNO5 = stage_table(dfx.Kvaerno5.tableau, order=5)


class SampleSpaceKvaerno3(AbstractSampleSpaceSolver):
    """Kvaerno's 3(2) method in sample space: more steps, each of fewer stages."""

    interpolation_cls: ClassVar = QuarticThroughQuarters
    stage_tol: Float[Array, ""] = eqx.field(default=1e-8, converter=jnp.asarray)
    max_iterations: int = 40
    memory: int = 8

    @property
    def table(self):
        return _KVAERNO3

    def order(self, terms):
        del terms
        return 3


class SampleSpaceKvaerno5(AbstractSampleSpaceSolver):
    """Kvaerno's 5(4) method in sample space, with a fourth-order dense output.

    References:
        Kvaerno (2004), "Singly diagonally implicit Runge-Kutta methods with an explicit
        first stage".
    """

    interpolation_cls: ClassVar = QuarticThroughQuarters
    stage_tol: Float[Array, ""] = eqx.field(default=1e-8, converter=jnp.asarray)
    max_iterations: int = 40
    memory: int = 8

    @property
    def table(self):
        return _KVAERNO5

    def order(self, terms):
        del terms
        return 5
