"""Where an attempted step ends, and how well that is known."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _log_time
from .._coordinates import two_norm
from .._field import Field
from .._frame import Frame
from .._framing import WAKE
from .._settled import renewed
from .._slides import free_gradient, with_gates
from .._steps import Steps
from .._types import Scalar
from .._walls import without
from ._passed import Passed


MOVED = 1e-6
"""A step moves a unit by this much of its size, or its slope is taken anew."""


class Arrival(NamedTuple):
    """The end of an attempted step.

    Attributes:
        point: The point, not yet brought back to norm one.
        dual: The dual weights.
        gradient: The negative gradient, that of the point brought back.
        margins: At the point brought back.
        awake: Whether a unit that rested has been woken.
    """

    point: Float[Array, " weights"]
    dual: Float[Array, " margins"]
    gradient: Float[Array, " weights"]
    margins: Float[Array, " margins"]
    awake: Bool[Array, ""]

    def unit(self, field: Field) -> Float[Array, " weights"]:
        """The point, brought back to norm one beside a log-radius."""
        return field.coordinates.back(self.point)


def arrive(frame: Frame, length, end, dual, slope, margins) -> Arrival:
    """The dual weights and negative gradient at the end, and whether a unit woke up."""
    field, point = frame.field, frame.point(length, end)
    gradient = without(frame.basis_at(length), free_gradient(field, point, dual))
    awake = jnp.asarray(False)
    if slope is not None and field.euclidean:
        motion = frame.point(length, slope) + frame.rate * point
        motion = motion * jnp.exp(frame.log_speed(point))
        # By positions: late, q has no digits. But a unit that has hardly moved on this
        # step has a slope below the rounding of its position.
        force = field.units.norms(gradient, frame.unit)
        stiff = ~frame.rest & (length * force > MOVED * frame.size)
        least = jnp.maximum(WAKE[0] * frame.rtol, WAKE[1])
        awake = jnp.any(frame.rest & (force > least * frame.pulled))
        gradient = jnp.where(stiff, motion, gradient)
    gradient = field.coordinates.gradient_back(point, gradient)
    return Arrival(point, dual, gradient, margins, awake)


def at_new_gates(frame: Frame, length, passed: Passed, step: Steps, there: Arrival):
    """The end of a step at the gates to go on with, and its clock there."""
    field = with_gates(frame.field, passed.gates)
    end, dual = frame.point(length, passed.coordinates[-1]), passed.duals[-1]
    unit = field.coordinates.back(end)
    force = free_gradient(frame.field, unit, dual)
    margins, dual, gradient, total = renewed(field, unit, step.log_radius, dual)
    # What is known from positions stays.
    gradient = gradient + (there.gradient - force) / total
    return Arrival(end, dual, gradient, margins, there.awake), total


def scaled_error(frame: Frame, length, there, step, error, tolerance) -> Scalar:
    """The error of a step in units of the tolerance: unit by unit, and of the whole."""
    units = frame.field.units
    error = frame.point(length, error)
    before = jnp.exp(-frame.growth * length) * frame.start
    sizes = units.sizes(jnp.stack([before, there.point]), frame.unit)
    size = jnp.maximum(jnp.max(sizes, axis=0), frame.floor)
    whole = two_norm(there.point)
    against = tolerance.rtol * size + tolerance.atol * whole
    share = jnp.where(against > 0, error / jnp.where(against > 0, against, 1.0), 0.0)
    count = jnp.sum(jnp.where(against > 0, frame.portion, 0.0))
    by_unit = two_norm(share) / jnp.sqrt(jnp.maximum(count, 1.0))
    found = jnp.maximum(by_unit, two_norm(error) / whole / tolerance.rtol)
    log_elapsed = step.scalars.log_elapsed(jnp.ones(()))
    slip = _log_time.time_error(step.scalars, step.log_t, log_elapsed)
    # Far out log log t is what has digits, as log r does.
    slip = slip / jnp.maximum(jnp.abs(step.log_radius), 1.0)
    found = jnp.hypot(found, slip / tolerance.rtol)
    usable = jnp.isfinite(found) & jnp.isfinite(two_norm(there.gradient))
    usable = usable & ~jnp.isnan(step.log_t)
    return jnp.where(usable & ~there.awake, found, jnp.inf)
