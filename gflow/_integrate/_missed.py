"""What the right gates would have done on a step, and how far that moves units."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .. import _log_time
from .._coordinates import two_norm
from .._frame import Frame
from .._sides import Gates
from .._slides import full_dual, with_gates
from .._steps import FRACTIONS, QUARTERS
from .._types import Scalar
from ._passages import through_quarters


_MIDDLES = (FRACTIONS[1:] + FRACTIONS[:-1]) / 2
_AT_MIDDLES = through_quarters(_MIDDLES)
_AT_FRACTIONS = through_quarters(FRACTIONS)


class Solved(NamedTuple):
    """A step as its solver leaves it.

    Attributes:
        coordinates: At the `FRACTIONS`.
        duals: The dual weights at its quarters.
        error: Of the coordinates at its end.
        state: Of the solver.
        outcome: Whether it has converged.
        gradients: What it took.
    """

    coordinates: Float[Array, "9 weights"]
    duals: Float[Array, "4 margins"]
    error: Float[Array, " weights"]
    state: PyTree
    outcome: PyTree
    gradients: Scalar


def lack_of(frame: Frame, length, solved: Solved, spent) -> Float[Array, "9 weights"]:
    """What the right gates would have added to the coordinates at the `FRACTIONS`.

    Args:
        frame: Of the step.
        length: Of it.
        solved: The step as it is known so far.
        spent: The share of the step that each gate is wrong between two of them.
    """
    field, on = frame.field, frame.field.gates.on
    signs = jnp.where(on, -1.0, 1.0)
    duals = _AT_MIDDLES @ jnp.concatenate([frame.dual[None], solved.duals])
    duals = field.duals.admitted(duals)
    middles = _AT_MIDDLES @ solved.coordinates[QUARTERS]
    times = length * _MIDDLES

    def jump(given):
        s, v, dual, spent = given

        def some():
            found = turned(frame, s, frame.point(s, v), dual, signs * spent, True)
            return length * jnp.exp(-frame.sigma * s) * found

        none = jnp.zeros_like(frame.start)
        return jax.lax.cond(jnp.any(spent != 0), some, lambda: none)

    pieces = jax.lax.map(jump, (times, middles, duals, spent))
    return jnp.concatenate([jnp.zeros_like(frame.start)[None], jnp.cumsum(pieces, 0)])


def turned(frame: Frame, s, point, dual, turn, hold: bool) -> Float[Array, " weights"]:
    """How the motion changes with the gates; where kinks are held, along them."""
    field = frame.field
    unit, log_radius = unit_at(frame, s, point)
    dual = full_dual(field, field.margins(unit), log_radius, dual)
    slides = field.gates.slides if hold else jnp.full_like(field.gates.slides, -1)
    normals = field.gates.normals * (1.0 if hold else 0.0)

    def motion(gates):
        there = with_gates(field, Gates(gates, slides, normals))
        # A unit at rest moves where a gate turns.
        moved = eqx.tree_at(
            lambda f: (f.field, f.rest), frame, (there, jnp.zeros_like(frame.rest))
        )
        return moved.negative_gradient(s, point, dual)[1]

    return jax.jvp(motion, (field.gates.on.astype(float),), (turn,))[1]


def unit_at(frame: Frame, s, point):
    """The point brought back, and the log-radius beside it."""
    log_radius = frame.log_radius_at(s) + jnp.log(two_norm(point))
    coordinates = frame.field.coordinates
    return coordinates.back(point), coordinates.beside(log_radius)


def sizes(frame: Frame, lack) -> tuple[Scalar, Scalar, Scalar]:
    """How far units are moved, squared; what a quartic does not follow; and in all."""
    units, lack = frame.field.units, frame.weight[None] * lack
    own = units.norms(lack, frame.unit)
    second = jnp.sum(frame.portion) * jnp.sum((lack * own) ** 2, axis=1)
    inside = jnp.sum((_AT_FRACTIONS @ lack[QUARTERS] - lack) ** 2, axis=1)
    total = jnp.sum(lack**2, axis=1)
    second, inside, total = (jnp.sqrt(jnp.max(a)) for a in (second, inside, total))
    return second, inside, total


def duals_anew(
    frame: Frame, length, coordinates, duals, on
) -> Float[Array, "4 margins"]:
    """The dual weights at the quarters, anew where they are functions of the point."""

    def anew(s, v, on):
        point = frame.point(s, v)
        field = eqx.tree_at(lambda f: f.gates.on, frame.field, on)
        margins = field.margins(point)
        scale = field.scale(margins, frame.log_radius_at(s))
        return frame.dual_weights(margins, s), field.mild(margins, scale)

    some = QUARTERS[1:]
    times = length * _log_time.NODES[1:]
    found, mild = jax.vmap(anew)(times, coordinates[some], on[some])
    return jnp.where(mild[:, None], found, duals)
