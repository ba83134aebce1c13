"""The curve that a solve returns."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from . import _log_time
from ._log_time import StepScalars
from ._polar import PolarField
from ._results import RESULTS
from ._types import Scalar


class Steps(eqx.Module):
    """Accepted steps, each with the dense output of its solver.

    Attributes:
        nodes: Direction and log-radius at the quarters of each step; the last quarter
            is its end.
        scalars: Radius, loss and the rate of physical time on each step.
        tau: The polar clock at the end.
        log_t: The logarithm of physical time at the end.
        log_loss: The logarithm of the mean loss at the end.
        weights: The weights $q$ at the end.
    """

    nodes: Float[Array, "steps 4 weights+1"]
    scalars: StepScalars
    tau: Float[Array, " steps"]
    log_t: Float[Array, " steps"]
    log_loss: Float[Array, " steps"]
    weights: Float[Array, "steps samples"]

    def ends(self) -> Float[Array, "steps weights+1"]:
        """Direction and log-radius at the end of each step."""
        return self.nodes[:, -1]


class Sample(eqx.Module):
    """One point of a curve."""

    tau: Scalar
    log_t: Scalar
    point: Float[Array, " weights+1"]
    log_loss: Scalar
    weights: Float[Array, " samples"]


class Trajectory(eqx.Module):
    r"""The gradient flow of a network, sampled at times.

    The flow is $w(t) = e^{\rho}\, \theta$; the leading axis of every array is time.

    Attributes:
        tau: The polar clock, in which the solver steps; zero at the start.
        log_t: Logarithm of physical time; `-inf` at the start, `inf` past
            $L \rho = 709$.
        log_radius: $\rho = \log |w|$.
        direction: The network with weights $\theta$, of norm one.
        log_loss: Logarithm of the mean loss.
        weights: The pull $q$ of each margin on the flow; each row sums to one.
        degree: The degree $L$ of homogeneity.
        result: How the solve ended, one of `gflow.RESULTS`.
        stats: `steps`, `rejected`, `failed` (steps whose stages did not converge),
            `gradients` (gradient-equivalents: gradients of the loss on all samples),
            `compile_seconds`, `run_seconds`, and `stopped_by`, the level that was met.
        field: The polar vector field that was followed.
        steps: The dense output, one entry per step, or `None`.
    """

    tau: Float[Array, " times"]
    log_t: Float[Array, " times"]
    log_radius: Float[Array, " times"]
    direction: PyTree
    log_loss: Float[Array, " times"]
    weights: Float[Array, "times samples"]
    degree: float
    result: RESULTS
    stats: dict[str, Any]
    field: PolarField
    steps: Steps | None

    def map(self, fn: Callable[..., PyTree], *arrays: Array) -> PyTree:
        """Apply `fn` to the unit-norm network at each time.

        Args:
            fn: Takes a network, and one entry of each of `arrays`.
            arrays: More arguments with a leading time axis, such as `log_radius`.

        Returns:
            What `fn` returns, each array with a leading time axis.

        Example:
            `trajectory.map(lambda net: gflow.normalized_margin(flow, net))`
        """
        return eqx.filter_vmap(fn)(self.direction, *arrays)

    def at(
        self, *, log_t: ArrayLike | None = None, tau: ArrayLike | None = None
    ) -> "Trajectory":
        r"""The curve at given times, by the dense output of the solver.

        Direction and radius are as accurate as the solve; the weights are interpolated
        linearly between its steps.

        Args:
            log_t: Logarithms of physical time, in any order; or
            tau: times of the polar clock.

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
                "itself made by `at` or with `save`. Ask the trajectory that `solve` "
                "returned, without `save`."
            )
        name, asked = ("log_t", log_t) if tau is None else ("tau", tau)
        axis = np.asarray(getattr(self, name))
        times = np.atleast_1d(np.asarray(asked, dtype=float))
        outside = ~((times >= axis[0]) & (times <= axis[-1]) & np.isfinite(times))
        if np.any(outside):
            raise ValueError(
                f"`{name}` must lie on the curve, from {axis[0]:.6g} to {axis[-1]:.6g}, "
                f"but holds {times[outside][:3].tolist()}."
            )
        start = initial_sample(self)
        samples = sample(start, self.steps, name, times)
        return trajectory(
            self.field, samples, self.degree, self.result, self.stats, steps=None
        )


def trajectory(
    field: PolarField,
    samples: Sample,
    degree: float,
    result: RESULTS,
    stats: dict[str, Any],
    steps: Steps | None,
) -> Trajectory:
    """The trajectory through samples stacked along a leading time axis."""
    directions, log_radius = samples.point[:, :-1], samples.point[:, -1]
    return Trajectory(
        tau=samples.tau,
        log_t=samples.log_t,
        log_radius=log_radius,
        direction=_networks(field, directions),
        log_loss=samples.log_loss,
        weights=samples.weights,
        degree=degree,
        result=result,
        stats=stats,
        field=field,
        steps=steps,
    )


def _networks(field, directions):
    """Networks with a leading axis; split on the host, where it compiles nothing."""
    like = jax.eval_shape(field.unravel, jax.ShapeDtypeStruct(directions.shape[1:], float))
    leaves, structure = jax.tree.flatten(like)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = np.split(np.asarray(directions), ends, axis=1)
    shaped = [
        jnp.asarray(part.reshape(len(directions), *leaf.shape))
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return eqx.combine(jax.tree.unflatten(structure, shaped), field.structure)


def initial_sample(curve: Trajectory) -> Sample:
    """The start of a curve."""
    moving = jax.tree.leaves(eqx.filter(curve.direction, eqx.is_inexact_array))
    direction = np.concatenate([np.asarray(leaf[0]).ravel() for leaf in moving])
    point = np.append(direction, curve.log_radius[0])
    return Sample(
        curve.tau[0], curve.log_t[0], point, curve.log_loss[0], curve.weights[0]
    )


def join(start: Sample, steps: Steps) -> Sample:
    """The start and the end of each step, stacked on the host."""
    ends = Sample(steps.tau, steps.log_t, steps.ends(), steps.log_loss, steps.weights)
    return jax.tree.map(
        lambda first, rest: np.concatenate([np.asarray(first)[None], rest]), start, ends
    )


def sample(start: Sample, steps: Steps, name: str, times: np.ndarray) -> Sample:
    """The curve at given values of `tau` or `log_t`, which must lie on it."""
    ends = join(start, steps)
    axis = getattr(ends, name)
    index = np.clip(np.searchsorted(axis, times, side="left") - 1, 0, len(axis) - 2)
    before, after = (jax.tree.map(lambda a: a[index + k], ends) for k in (0, 1))
    nodes, scalars = jax.tree.map(lambda a: a[index], (steps.nodes, steps.scalars))
    if name == "tau":
        fraction = np.clip((times - before.tau) / scalars.length, 0.0, 1.0)
    else:
        fraction = _log_time.first_passed(
            lambda f: _log_time.log_add(before.log_t, scalars.log_elapsed(f)) >= times,
            len(times),
        )
        fraction = np.where(times == after.log_t, 1.0, fraction)
    found = _within(before, after, nodes, scalars, fraction)
    return eqx.tree_at(lambda s: getattr(s, name), found, times)


def _within(before: Sample, after: Sample, nodes, scalars, fraction) -> Sample:
    """The curve at a fraction of each step."""
    values = np.concatenate([before.point[:, None], nodes], axis=1)
    points = _log_time.interpolate(values, fraction)
    points[:, :-1] /= np.linalg.norm(points[:, :-1], axis=1, keepdims=True)
    with np.errstate(divide="ignore"):  # at fraction 0
        log_t = _log_time.log_add(before.log_t, scalars.log_elapsed(fraction))
    part = fraction[:, None]
    return Sample(
        tau=before.tau + fraction * scalars.length,
        log_t=log_t,
        point=points,
        log_loss=scalars.log_loss(fraction),
        weights=(1 - part) * before.weights + part * after.weights,
    )


def land(start: Sample, steps: Steps, level: str, target: float) -> Steps:
    """The steps with the last one cut where it meets a level, exactly.

    Args:
        start: The first sample.
        steps: All steps; the last ends past the level.
        level: Which one, a name in `LEVELS` but not `converged`.
        target: The value to meet.
    """
    ends = join(start, steps)
    before, after = (jax.tree.map(lambda a: a[k : k + 1 or None], ends) for k in (-2, -1))
    last = jax.tree.map(lambda a: a[-1:], steps)

    def passed(fraction):
        here = _within(before, after, last.nodes, last.scalars, fraction)
        log_radius = here.point[:, -1]
        values = {
            "log_t": here.log_t,
            "log_radius": log_radius,
            "log_margin_scale": last.scalars.degree * log_radius,
            "log_loss": -here.log_loss,
        }
        return values[level] >= (-target if level == "log_loss" else target)

    fraction = _log_time.first_passed(passed, 1)
    quarters = [
        _within(before, after, last.nodes, last.scalars, fraction * node).point
        for node in _log_time.NODES[1:]
    ]
    end = _within(before, after, last.nodes, last.scalars, fraction)
    if level != "log_radius":
        end = eqx.tree_at(
            lambda s: getattr(s, level, s.tau),
            end,
            np.array([target]) if hasattr(end, level) else end.tau,
        )
    cut = Steps(
        nodes=np.stack(quarters, axis=1),
        scalars=last.scalars.first(fraction),
        tau=end.tau,
        log_t=end.log_t,
        log_loss=end.log_loss,
        weights=end.weights,
    )
    return jax.tree.map(lambda a, b: np.concatenate([a[:-1], b]), steps, cut)
