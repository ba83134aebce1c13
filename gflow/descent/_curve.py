"""The curve that a descent returns."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._clock import choose_field
from .._curve import AbstractCurve, taken
from .._field import Field
from .._flow import AbstractFlow
from .._gates import Kinks
from .._point import Point
from .._text import table


class Descent(AbstractCurve):
    r"""A descent, sampled at counts of gradients.

    A curve like a `Trajectory`, whose leading axis of every array is time: diagnostics,
    plots and `gflow.limit` read either.

    Attributes:
        gradients: How many gradients had been spent, rejected steps counted; 0 at the
            start.
        log_t: Logarithm of physical time, the sum of the steps; `-inf` at the start.
        log_radius: $\log |w|$.
        direction: The network with weights $w / |w|$, of norm one.
        log_loss: Logarithm of the mean loss. If it is not finite at the last sample,
            the descent diverged there.
        weights: The dual weights $q$, as of `gflow.point`.
        degree: The degree $L$ of homogeneity, `None` if there is none.
        flow: Data and loss.
        stats: `steps` (those that were kept), `rejected`, `gradients`,
            `compile_seconds` and `run_seconds`.
        steps: None: there is no dense output.
    """

    gradients: Int[Array, " times"]
    log_t: Float[Array, " times"]
    log_radius: Float[Array, " times"]
    direction: PyTree
    log_loss: Float[Array, " times"]
    weights: Float[Array, "times margins"]
    degree: float | None
    flow: AbstractFlow
    stats: dict[str, Any]
    steps: None = eqx.field(default=None)

    @property
    def tau(self) -> Float[Array, " times"]:
        """What a descent counts: its gradients."""
        return jnp.asarray(self.gradients, float)

    @property
    def field(self) -> Field:
        """The vector field that the flow has at the end of the descent."""
        return choose_field(self.flow, self[-1].direction, None)[0]

    @property
    def gates(self) -> Bool[Array, "times samples kinks"]:
        """The side of each kink of each sample, as `Trajectory.gates` has them."""
        kinks = self[-1].known_kinks()  # looked for once: those of all points
        return self.map(jax.tree_util.Partial(_gates, kinks))

    def __repr__(self) -> str:
        """A dozen lines: what was followed, from where to where, and for how much."""
        stats = self.stats
        rows = self._shown() | {
            "steps": f"{stats['steps']}, {stats['rejected']} rejected, "
            f"{stats['gradients']} gradients",
            "seconds": f"{stats['run_seconds']:.2f}, and "
            f"{stats['compile_seconds']:.2f} to compile",
        }
        return table("Descent", rows)

    def _recorded(self, at):
        del at
        return {}

    def _sliced(self, index):
        return dataclasses.replace(
            self,
            gradients=self.gradients[index],
            log_t=self.log_t[index],
            log_radius=self.log_radius[index],
            direction=taken(self.direction, index),
            log_loss=self.log_loss[index],
            weights=self.weights[index],
        )


def _gates(kinks: Kinks, point: Point) -> Bool[Array, "samples kinks"]:
    return dataclasses.replace(point, kinks=kinks).gates
