"""The curve that a solve returns."""

import dataclasses
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree

from . import _extras, _tree
from ._curve import AbstractCurve, taken
from ._field import Field
from ._flow import AbstractFlow
from ._observables import Observables
from ._results import RESULTS
from ._sides import signs
from ._steps import Sample, Steps, refine, sample
from ._text import table
from ._turned import Turns, gates_at, within_steps


class Trajectory(AbstractCurve):
    r"""The gradient flow of a network, sampled at times.

    The flow is $w(t) = e^{\rho}\, \theta$; the leading axis of every array is time.
    `curve[i]` is a `Point`, `curve[i:j]` a trajectory of these samples, without dense
    output; `len` and loops work as for a sequence of points.

    Attributes:
        tau: The clock in which the solver steps; zero at the start.
        log_t: Logarithm of physical time; `-inf` at the start. Past $L \rho = 709$ it
            would overflow, as would `log_loss`: both stand still there, near 1e306.
        log_radius: $\rho = \log |w|$.
        direction: The network with weights $\theta$, of norm one.
        log_loss: Logarithm of the mean loss.
        weights: The pull $q$ of each margin on the flow; each row sums to one. Of what
            no weight moves it is zero, at the latest once that outweighs the others.
        degree: The degree $L$ of homogeneity, `None` if there is none.
        result: How the solve ended, one of `gflow.RESULTS`.
        stats: `steps`, `rejected`, `failed` (steps whose stages did not converge),
            `gradients` (gradient-equivalents: gradients of the loss on all samples),
            `compile_seconds`, `run_seconds`, `stopped_by` (the level that was met),
            `events` (how many kinks were passed); at the end `slides` (the kinks that
            are slid along) and `walls` (those that hold units back from lost samples);
            `kept` (of the steps, all or what there was memory for); or None: `verdict`
            (what was measured where an early end was decided on) and `unwatched` (from
            where nobody knows whether ways to leave a rest were overlooked).
        field: The vector field that was followed.
        steps: The dense output, one entry per step, or `None`.
        turns: The clock where gates of kinks changed, and packed the gates from there.
        observables: What `SaveAt(observables=...)` has kept, or `None`.
    """

    tau: Float[Array, " times"]
    log_t: Float[Array, " times"]
    log_radius: Float[Array, " times"]
    direction: PyTree
    log_loss: Float[Array, " times"]
    weights: Float[Array, "times samples"]
    degree: float | None
    result: RESULTS
    stats: dict[str, Any]
    field: Field
    steps: Steps | None
    turns: Turns = eqx.field(default_factory=list)
    observables: Observables | None = None

    @property
    def flow(self) -> AbstractFlow:
        """Data and loss."""
        return self.field.flow

    @property
    def gates(self) -> Bool[np.ndarray, "times samples kinks"]:
        """The side of each kink of each sample, at each time.

        True where a ReLU is on, the first argument of a maximum is the larger, the
        condition of a `where` holds; in the order in which JAX traces the network. A
        kink that is slid along counts as off.
        """
        if self.turns:
            return self._turned()[0]
        leaves = jax.tree.leaves(_tree.parameters(self.direction))
        rows = [np.asarray(leaf).reshape(len(self.tau), -1) for leaf in leaves]
        return signs(self.field, np.concatenate(rows, axis=1))

    @property
    def slides(self) -> Bool[np.ndarray, "times samples kinks"]:
        """The kinks that it slides along, as `gates` has them, at each time."""
        if self.turns:
            return self._turned()[1]
        return np.zeros((len(self.tau), *self.field.gates.on.shape), bool)

    def _turned(
        self, at: slice = slice(None)
    ) -> Bool[np.ndarray, "2 times samples kinks"]:
        """Which gates are on at some times, and which kinks are slid along."""
        tau = np.asarray(self.tau)[at]
        return gates_at(self.turns, tau, self.field.gates.on.shape)

    def __repr__(self) -> str:
        """A dozen lines: what was followed, from where to where, and how it ended."""
        stats, met = self.stats, self.stats.get("stopped_by")
        rows = {"ended": f"{self.result.name}" + (f", at {met}" if met else "")}
        rows |= self._shown()
        thinned = self.steps is None and "memory" in stats.get("kept", "")
        told = {"kept": thinned, "unwatched": stats.get("unwatched")}
        rows |= {name: stats[name] for name, tells in told.items() if tells}
        rows["steps"] = (
            f"{stats['steps']}, {stats['rejected']} rejected, "
            f"{stats['gradients']:.0f} gradient-equivalents"
        )
        if self.field.kinks.count > 0:
            rows["kinks"] = f"{stats['events']} passed, {stats['slides']} slid along"
        rows["seconds"] = (
            f"{stats['run_seconds']:.2f}, and {stats['compile_seconds']:.2f} to compile"
        )
        return table("Trajectory", rows)

    def _recorded(self, at):
        if self.field.kinks.count == 0 or not self.turns:
            return {"kinks": self.field.kinks}
        on, slides = self._turned(at)
        found = [np.flatnonzero(each) for each in slides]
        # Few sizes, since functions of points are compiled for each.
        most = max((len(each) for each in found), default=0)
        numbers = np.full((len(found), most and 1 << (most - 1).bit_length()), -1)
        for row, each in zip(numbers, found, strict=True):
            row[: len(each)] = each
        return {"kinks": self.field.kinks, "sides": on, "slides": numbers}

    def _sliced(self, index):
        return dataclasses.replace(
            self,
            tau=self.tau[index],
            log_t=self.log_t[index],
            log_radius=self.log_radius[index],
            direction=taken(self.direction, index),
            log_loss=self.log_loss[index],
            weights=self.weights[index],
            steps=None,
        )

    def at(
        self, *, log_t: ArrayLike | None = None, tau: ArrayLike | None = None
    ) -> "Trajectory":
        r"""The curve at given times, by the dense output of the solver.

        Direction and radius come from the quartic of each step, whose error is that of
        the tolerance (some tens of it between long late steps). So do the weights
        $q$, from cubics through those of the stages.

        Args:
            log_t: Logarithms of physical time, in any order; or
            tau: times of the curve's clock.

        Returns:
            A trajectory at these times, without dense output.

        Raises:
            ValueError: If not exactly one of both is given, if a time is not on the
                curve, or if the trajectory has no dense output.
        """
        if (log_t is None) == (tau is None):
            raise ValueError("`at` needs one of `log_t` and `tau`.")
        if self.steps is None:
            raise ValueError(
                "`at` needs the dense output, which this trajectory lacks: it was "
                "itself made by `at` or with `save`, or it would have taken more than "
                "`memory`. Ask the trajectory that `solve` returned, without `save` "
                "and with more `memory`; or ask `solve`, by `save=SaveAt(log_t=...)`."
            )
        name, asked = ("log_t", log_t) if tau is None else ("tau", tau)
        axis = np.asarray(getattr(self, name))
        times = np.atleast_1d(np.asarray(asked, dtype=float))
        if times.ndim > 1:
            raise ValueError(
                f"`{name}` must be a number or a vector of times, but has shape "
                f"{times.shape}."
            )
        outside = ~((times >= axis[0]) & (times <= axis[-1]))
        if np.any(outside):
            raise ValueError(
                f"`{name}` must lie on the curve, from {axis[0]:.6g} to {axis[-1]:.6g},"
                f" but holds {times[outside][:3].tolist()}."
            )
        start = initial_sample(self)
        samples = sample(self.field, start, self.steps, name, times)
        return self._with(samples)

    def _with(self, samples: Sample) -> "Trajectory":
        """Other samples of the same curve, without its dense output."""
        turns = within_steps(self.field, samples, self.turns)
        return trajectory(self.field, samples, self.result, self.stats, None, turns)

    def refined(self, parts: int) -> "Trajectory":
        """The curve at the ends of equal parts of each step, by its dense output.

        Args:
            parts: How many to a step, in the clock of its solver.

        Returns:
            A trajectory whose every `parts`-th sample is one of this, without dense
            output.

        Raises:
            ValueError: If `parts` is not a positive integer, or the trajectory has no
                dense output, as in `at`.
        """
        if isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
            raise ValueError(f"`parts` must be a positive integer, but is {parts!r}.")
        if self.steps is None:
            raise ValueError("`refined` needs the dense output, as `at` does.")
        samples = refine(self.field, initial_sample(self), self.steps, parts)
        return self._with(samples)

    def to_xarray(self) -> Any:
        """The trajectory as an `xarray.Dataset`.

        Variables are named as the fields here; each array of the direction after its
        path in the network, such as `direction_weights_0`, with dimension `time` first.
        The dense output is there under `step_...`, the data as `x` and `y`, observables
        under `observable_...`, along `observed`. Attributes hold the units (all "1" but
        theirs), what each variable is, and the settings: loss, clock, degree (NaN if
        there is none), result, stats, version.

        Returns:
            The dataset.

        Raises:
            ImportError: If xarray, h5netcdf or h5py is not installed:
                `pip install '.[netcdf]'`.

        Example:
            `trajectory.to_xarray().log_loss`
        """
        return _extras.netcdf().dataset(self)

    def save(self, path: str | Path) -> None:
        """Write the trajectory as a netCDF file, which `gflow.load` reads.

        It holds what `to_xarray` does, and is read by any program that knows netCDF 4
        or HDF5. An older file is replaced, at once and as a whole.

        Args:
            path: The file, such as `"run.nc"`.

        Raises:
            ValueError: If `path` does not lie in a directory, or is one.
            ImportError: As for `to_xarray`.

        Example:
            `trajectory.save("run.nc")`
        """
        _extras.netcdf().save(self, path)


def trajectory(
    field: Field,
    samples: Sample,
    result: RESULTS,
    stats: dict[str, Any],
    steps: Steps | None,
    turns: Turns | None = None,
    observables: Observables | None = None,
) -> Trajectory:
    """The trajectory through samples stacked along a leading time axis."""
    directions, log_radius = samples.point[:, :-1], samples.point[:, -1]
    degree = float(field.degree)
    return Trajectory(  # pyright: ignore[reportCallIssue]
        tau=samples.tau,
        log_t=samples.log_t,
        log_radius=log_radius,
        direction=jax.tree.map(
            lambda leaf: jnp.asarray(leaf) if eqx.is_inexact_array(leaf) else leaf,
            field.network(np.asarray(directions)),
        ),
        log_loss=samples.log_loss,
        weights=samples.weights,
        degree=None if np.isnan(degree) else degree,
        result=result,
        stats=stats,
        field=field,
        steps=steps,
        turns=turns or [],
        observables=observables,
    )


def initial_sample(curve: Trajectory) -> Sample:
    """The start of a curve."""
    moving = jax.tree.leaves(_tree.parameters(curve.direction))
    direction = np.concatenate([np.asarray(leaf[0]).ravel() for leaf in moving])
    point = np.append(direction, curve.log_radius[0])
    return Sample(
        curve.tau[0], curve.log_t[0], point, curve.log_loss[0], curve.weights[0]
    )
