"""One attempted step: solved, measured, judged, and handed on."""

from functools import partial

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from ._arrival import Arrival, arrive, at_new_gates, scaled_error
from ._carry import Carry, Tolerance, strong
from ._field import Field, two_norm
from ._frame import LOG_GROWTH, Frame, frame_velocity, make_frame
from ._landing import share_before
from ._log_time import NODES
from ._passed import Passed, Solved, pass_kinks, unpassed
from ._slides import with_gates
from ._solvers import gradients_per_attempt, is_own
from ._steps import FRACTIONS, QUARTERS, Steps, record
from ._types import Scalar
from ._unseen import unseen
from ._until import LEVELS, Levels
from ._watch import LONGEST, watch


TERM = dfx.ODETerm(frame_velocity)

SHRINK = 0.5
"""A step after one that was accepted is not shorter for the sake of its stages."""

GROWTH, GROWTH_AT_REST, GROWTH_AFTER_FAILURE = 5.0, 100.0, 1.0
"""How much longer a step may be than the one before. With 10 in place of 5 it cycles
between failure and growth."""

FAR_BELOW = 1e-3
"""An error this far below the tolerance lets steps grow as at rest."""

LANDED = 0.01, 0.95
"""A step that meets a level between these shares of it is repeated, only that long:
between its ends the curve has the error of the dense output, which is larger."""

BEYOND = 1e-3
"""By which share it is longer, to reach the level in spite of its own error."""

SHORTEST = 1e-20
"""The shortest way, unit by unit, that is worth a step."""

RESUME = 0.5
"""After one that was cut short steps are as long again, but for this factor."""

VANISHED = -1e4
r"""$L \rho$ below which a flow that still shrinks never comes back."""

RUNNING = 0
UNDERFLOW, RESTING, VANISHING = range(len(LEVELS) + 1, len(LEVELS) + 4)
"""Ways to stop beside `LEVELS`, which are 1, 2, ..."""

LANDING, KINKED, STUCK = range(VANISHING + 1, VANISHING + 4)
"""Ways to go on: less far, and with gates to be decided at the end of a step, or at
its start."""


def attempt(
    field: Field,
    solver: dfx.AbstractAdaptiveSolver,
    control: dfx.PIDController,
    tolerance: Tolerance,
    levels: Levels,
    carry: Carry,
) -> tuple[Carry, Steps, Bool[Array, ""]]:
    """One step, accepted or not: the new carry, the step, and whether it was kept."""
    zero = jnp.zeros(())
    field = with_gates(field, carry.gates)
    length = jnp.minimum(carry.length, carry.longest)
    frame = make_frame(
        field, carry.point, carry.log_radius, carry.dual, carry.gradient, length,
        tolerance.rtol,
    )  # fmt: skip
    # A frame whose margins are others than those of the step before has another clock.
    clock, length = length / frame.length, frame.length
    steepest = jnp.max(jnp.abs(frame.sigma))
    length = jnp.minimum(length, LOG_GROWTH / jnp.maximum(steepest, 1e-300))
    own = is_own(solver)
    solve = partial(_solve, solver, length, carry)
    if field.kinks.count > 0:
        solved, passed = pass_kinks(frame, length, solve)
    else:
        solved = solve(frame)
        passed = unpassed(frame, solved)
    end, dual, solver_state = passed.coordinates[-1], passed.duals[-1], solved.state
    step, margins = record(
        frame, length, passed.coordinates, passed.on, carry.tau, carry.log_t,
        passed.duals,
    )  # fmt: skip
    slope = solver_state.slope if own else None
    there = arrive(frame, length, end, dual, slope, margins)
    error = jnp.abs(solved.error) + jnp.abs(unseen(frame, length, passed.coordinates))
    scaled = scaled_error(frame, length, there, step, error, tolerance)
    keep, from_, to, _, controller_state, _ = control.adapt_step_size(
        zero, length, jnp.ones(()), jnp.ones(()), frame, scaled * tolerance.rtol,
        solver.error_order(TERM), carry.controller_state,
    )  # fmt: skip
    next_length = to - from_
    if own:
        longest = jnp.maximum(solver_state.growth, SHRINK) * length
        next_length = jnp.where(keep, jnp.minimum(next_length, longest), next_length)
    else:
        solver_state = None
    renewal = jnp.ones(())
    if field.kinks.count > 0:
        there, renewal = jax.lax.cond(
            keep & passed.some & (passed.share == 1),
            lambda: at_new_gates(frame, length, passed, step, there),
            lambda: (there, jnp.ones(())),
        )
    calm = keep & (scaled < FAR_BELOW) & (carry.most >= GROWTH)
    most = jnp.where(calm, GROWTH_AT_REST, carry.most) * length
    # The clock of growth begins anew at each step.
    slower = jnp.where(keep, jnp.exp(-frame.log_growth(there.point)) * renewal, clock)
    next_length = jnp.minimum(next_length, most)
    tiny = next_length * two_norm(frame.weight * frame.pulled) < SHORTEST
    next_length = jnp.minimum(next_length * slower, LONGEST)
    # After a step that was cut short at a kink.
    again = jnp.where(keep, RESUME * carry.resume * slower / clock, 0.0)
    next_length = jnp.maximum(next_length, again)
    reached = _reached(levels, field, step, there)
    part = jax.lax.cond(
        keep & (reached > 0),
        lambda: share_before(levels, carry.log_t, step.scalars),
        lambda: zero,
    )
    far = (part > LANDED[0]) & (part < LANDED[1])
    watched = watch(frame, carry, length, end, there, step, keep, slower, clock)
    status = jnp.where((reached == 0) & watched["unseen"], RESTING, reached)
    stuck = jnp.where(tiny & ~keep, UNDERFLOW, RUNNING)
    new = _moved(field, carry, there, step, solver_state, keep)
    new |= {name: watched[name] for name in ("looked", "strayed", "longest", "way")}
    new |= {
        "controller_state": controller_state,
        "length": next_length,
        "most": jnp.where(keep, GROWTH, GROWTH_AFTER_FAILURE),
        "accepted": carry.accepted + keep,
        "rejected": carry.rejected + ~keep,
        "failed": carry.failed + (solved.outcome != dfx.RESULTS.successful),
        # The frame, its curvature, and six forward passes of a third each.
        "gradients": carry.gradients + solved.gradients + 6,
        "status": jnp.where(keep & (status > 0), status, stuck),
        "gates": carry.gates,
        "asked": carry.asked,
        "passed": carry.passed,
        "reached": status,
        "resume": jnp.where(keep, 0.0, carry.resume),
        "landing": carry.landing,
    }
    shorter = eqx.tree_at(
        lambda c: (c.landing, c.status), carry,
        (part * (1 + BEYOND) * length * clock, jnp.full((), LANDING)),
    )  # fmt: skip
    new, kept = strong(Carry(**new)), keep & ~far
    if field.kinks.count > 0:
        new = _turned(carry, new, passed, keep)
        cut = (keep & (passed.share < 1)) | passed.stuck
        new = _choose(cut, _cut(carry, new, passed, length * clock), new)
        far, kept = far & ~cut, kept & ~cut
    return _choose(far, shorter, new), step, kept


def _choose(condition: Bool[Array, ""], one: PyTree, other: PyTree) -> PyTree:
    return jax.tree.map(partial(jnp.where, condition), strong(one), strong(other))


def _solve(solver, length, carry: Carry, frame: Frame) -> Solved:
    """A step of the solver."""
    zero, given = jnp.zeros(()), carry.solver_state
    own = is_own(solver)
    if not own:
        given = solver.init(TERM, zero, zero, carry.point, frame)
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
    if not frame.field.free:
        # Solvers keep the weights of what nothing moves from vanishing.
        duals = jnp.where((frame.seen | frame.lost)[None], duals, 0.0)
    return Solved(coordinates, duals, error, state, outcome, jnp.asarray(spent) * 1.0)


def _turned(carry: Carry, new: Carry, passed: Passed, keep) -> Carry:
    """The carry with the gates to go on with, or a question to the host."""
    ask = keep & jnp.any(passed.asked)
    turns = jnp.sum(passed.gates.on != carry.gates.on)
    return eqx.tree_at(
        lambda c: (c.gates, c.asked, c.passed, c.status),
        new,
        (
            _choose(keep, passed.gates, carry.gates),
            passed.asked,
            carry.passed + jnp.where(keep, turns, 0),
            jnp.where(ask, KINKED, new.status),
        ),
    )


def _cut(carry: Carry, new: Carry, passed: Passed, tried: Scalar) -> Carry:
    """The start of a step again, for a shorter one, or for other gates."""
    return eqx.tree_at(
        lambda c: (c.length, c.rejected, c.gradients, c.resume, c.asked, c.status),
        carry,
        (
            jnp.where(passed.stuck, 1.0, passed.share) * tried,
            carry.rejected + 1,
            new.gradients,
            jnp.maximum(carry.resume, tried),
            passed.asked,
            jnp.where(passed.stuck, STUCK, RUNNING),
        ),
    )


def _moved(
    field: Field, carry: Carry, there: Arrival, step: Steps, state, keep
) -> dict:
    """Where the flow is after an attempt, as parts of a carry."""
    point, log_radius = there.point, carry.log_radius
    if field.polar:
        point, log_radius = there.unit(field), step.log_radius
    stayed_state = carry.solver_state
    if state is not None:  # what a failed step has learned of the stiffness
        stayed_state = state.after_failure(carry.solver_state)
    moved = {
        "point": point,
        "log_radius": log_radius,
        "dual": there.dual,
        "gradient": there.gradient,
        "margins": there.margins,
        "solver_state": state,
        "tau": step.tau,
        "log_t": step.log_t,
        "log_whole": step.log_radius,
    }
    stayed = {name: getattr(carry, name) for name in moved}
    stayed["solver_state"] = stayed_state
    moved, stayed = strong(moved), strong(stayed)
    return jax.lax.cond(keep, lambda: moved, lambda: stayed)


def _reached(levels: Levels, field: Field, step: Steps, there: Arrival):
    """The level that the end of a step meets, or that the weights vanish; else 0."""
    unit = there.point / two_norm(there.point)
    along = jnp.dot(unit, there.gradient)
    across = two_norm(there.gradient - along * unit)
    fitted = (jnp.min(there.margins) > 0) & (along > 0)
    tangent = jnp.where(fitted, across / along, jnp.inf)
    log_scale = step.scalars.degree * step.log_radius
    met = levels.reached(
        jnp.stack([step.log_t, step.log_radius, log_scale, -step.log_loss, -tangent])
    )
    gone = field.polar & (log_scale < VANISHED) & (along < 0)
    return jnp.where((met == 0) & gone, VANISHING, met)
