"""A step that is tried: solved in a frame of its own, and not yet judged."""

from functools import partial
from typing import NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp

from .._coordinates import two_norm
from .._field import Field
from .._frame import LOG_GROWTH, Frame, frame_velocity
from .._framing import make_frame
from .._log_time import NODES
from .._solvers import gradients_per_attempt, is_own
from .._steps import FRACTIONS, QUARTERS, Steps, record
from .._types import Scalar
from ._arrival import Arrival, arrive, scaled_error
from ._carry import Carry, Tolerance
from ._meeting import Met, meet
from ._passed import Passed, Solved, pass_kinks, unpassed
from ._unseen import unseen


TERM = dfx.ODETerm(frame_velocity)


class Trial(NamedTuple):
    """A step, as far as it is known before it is judged.

    Attributes:
        frame: Its coordinates.
        length: Of it, in the clock of its frame.
        clock: The same in that of the step before, against this.
        solved: What the solver gives.
        passed: What comes of the kinks on it.
        step: What a trajectory keeps of it.
        there: Its end.
        met: What it meets of walls.
        error: Of it, in units of the tolerance.
    """

    frame: Frame
    length: Scalar
    clock: Scalar
    solved: Solved
    passed: Passed
    step: Steps
    there: Arrival
    met: Met
    error: Scalar


def try_step(
    field: Field,
    solver: dfx.AbstractAdaptiveSolver,
    tolerance: Tolerance,
    carry: Carry,
) -> Trial:
    """A step of about the length that the last one has left for it.

    Args:
        field: The flow, at the gates to begin with.
        solver: The solver.
        tolerance: That of a step.
        carry: Where the loop is.
    """
    length = jnp.minimum(carry.length, carry.longest)
    frame = make_frame(
        field, carry.point, carry.log_radius, carry.dual, carry.gradient,
        carry.walls, length, tolerance.rtol,
    )  # fmt: skip
    # A frame whose margins are others than those of the step before has another clock.
    clock, length = length / frame.length, frame.length
    steepest = jnp.max(jnp.abs(frame.sigma))
    length = jnp.minimum(length, LOG_GROWTH / jnp.maximum(steepest, 1e-300))
    solve = partial(_solve, solver, length, carry)
    if field.kinks.count > 0:
        solved, passed = pass_kinks(frame, length, solve, _blank(solver, carry))
    else:
        solved = solve(frame)
        passed = unpassed(frame, solved)
    end, dual = passed.coordinates[-1], passed.duals[-1]
    step, margins = record(
        frame, length, passed.coordinates, passed.on, carry.tau, carry.log_t,
        passed.duals,
    )  # fmt: skip
    slope = solved.state.slope if is_own(solver) else None
    there = arrive(frame, length, end, dual, slope, margins[-1])
    log_radius, way = jnp.asarray(step.log_radius), (passed.coordinates, margins)
    met = meet(frame, length, *way, log_radius, there)
    missed = unseen(frame, length, *way, met.known)
    error = jnp.abs(solved.error) + jnp.abs(missed)
    scaled = scaled_error(frame, length, there, step, error, tolerance)
    if field.walled:
        there, passed = met.there, passed._replace(share=met.share)
        step = _ending(frame, length, step, there, met.pulled_in)
        worst = jnp.maximum(scaled, met.error)
        scaled = jnp.where(jnp.isfinite(worst), worst, jnp.inf)
    return Trial(frame, length, clock, solved, passed, step, there, met, scaled)


def _ending(frame: Frame, length, step: Steps, there: Arrival, at_once) -> Steps:
    """A step as it is kept, with this end."""
    end = jnp.exp(-frame.sigma * length) * there.point / two_norm(frame.start)
    nodes = jnp.asarray(step.nodes)
    # Walls turn away from where they are expected with the square of time, and what
    # they push goes by with its cube. What is pulled in goes there at the end.
    way = jnp.where(at_once, 0.0, end - nodes[-1])
    nodes = nodes + NODES[1:, None] ** 3 * way[None]
    nodes = nodes.at[-1].set(end)
    log_radius, seen = jnp.asarray(step.log_radius), frame.seen
    _, log_loss = frame.field.log_slope_and_loss(there.margins, log_radius, seen)
    scalars = step.scalars.ending(log_loss)
    return eqx.tree_at(
        lambda s: (s.nodes, s.log_loss, s.scalars), step, (nodes, log_loss, scalars)
    )


def _blank(solver, carry: Carry) -> Solved:
    """What `_solve` returns, with numbers that mean nothing."""
    size, margins = carry.point.size, carry.margins.size
    return Solved(
        coordinates=jnp.zeros((FRACTIONS.size, size)),
        duals=jnp.zeros((QUARTERS.size - 1, margins)),
        error=jnp.zeros(size),
        state=carry.solver_state if is_own(solver) else None,
        outcome=dfx.RESULTS.successful,
        gradients=jnp.zeros(()),
    )


def _solve(solver, length, carry: Carry, frame: Frame) -> Solved:
    """A step of the solver."""
    zero, given = jnp.zeros(()), carry.solver_state
    own = is_own(solver)
    if not own:
        given = solver.init(TERM, zero, zero, frame.start, frame)
    end, error, dense_info, state, outcome = solver.step(
        TERM, zero, length, frame.start, frame, given, jnp.asarray(True)
    )
    inside = solver.interpolation_cls(t0=zero, t1=length, **dense_info)
    between = jax.vmap(inside.evaluate)(length * FRACTIONS[1:-1])
    if not own:  # what its gates lack is no part of what it steps
        lack = jax.vmap(frame.lack_at)(length * FRACTIONS[1:])
        between, end = between + lack[:-1], end + lack[-1]
    coordinates = jnp.concatenate([frame.start[None], between, end[None]])
    if own:
        duals = jnp.concatenate([inside.dual, state.dual[None]])
        spent = state.gradients - carry.solver_state.gradients
    else:

        def at(s, v):
            return frame.dual_weights(frame.field.margins(frame.point(s, v)), s)

        duals = jax.vmap(at)(length * NODES[1:], coordinates[QUARTERS[1:]])
        state, spent = None, gradients_per_attempt(solver)
    if not frame.field.duals.linear:
        # Solvers keep the weights of what nothing moves from vanishing.
        duals = jnp.where(frame.sighted[None], duals, 0.0)
    return Solved(coordinates, duals, error, state, outcome, jnp.asarray(spent) * 1.0)
