"""One attempted step: solved, measured, judged, and handed on."""

from typing import NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from .._coordinates import two_norm
from .._field import Field
from .._slides import with_gates
from .._solvers import is_own
from .._steps import Steps
from .._types import Scalar
from .._until import LEVELS, Levels
from ._arrival import Arrival, at_new_gates
from ._carry import Carry, Tolerance, strong
from ._passed import Passed
from ._trial import TERM, Trial, try_step
from ._watch import LONGEST, watch


SHRINK = 0.5
"""A step after one that was accepted is not shorter for the sake of its stages."""

GROWTH, GROWTH_AT_REST, GROWTH_AFTER_FAILURE = 5.0, 100.0, 1.0
"""How much longer a step may be than the one before. With 10 in place of 5 it cycles
between failure and growth."""

FAR_BELOW = 1e-3
"""An error this far below the tolerance lets steps grow as at rest."""

SHORTEST = 1e-20
"""The shortest way, unit by unit, that is worth a step."""

RESUME = 0.5
"""After one that was cut short steps are as long again, but for this factor."""

VANISHED = -1e4
r"""$L \rho$ below which a flow that still shrinks never comes back."""

AT_ZERO = -40.0
"""Weights that come to zero so soon are there: the logarithm of a share of time."""

TURNED = 1e-12
"""The flow comes to zero if its motion across is less than this share of it."""

RUNNING = 0
UNDERFLOW, RESTING, HELD, VANISHING = range(len(LEVELS) + 1, len(LEVELS) + 5)
"""Ways to stop beside `LEVELS`, which are 1, 2, ...: `HELD` where some unit rests."""

LANDING, PASSING, KINKED, STUCK, WALLED = range(VANISHING + 1, VANISHING + 6)
"""Ways to go on: perhaps less far; through zero; with gates to be decided at the end of
a step, or at its start; and with room for walls."""


def attempt(
    field: Field,
    solver: dfx.AbstractAdaptiveSolver,
    control: dfx.PIDController,
    tolerance: Tolerance,
    levels: Levels,
    carry: Carry,
) -> tuple[Carry, Steps, Bool[Array, ""]]:
    """One step, accepted or not: the new carry, the step, and whether it was kept."""
    field = with_gates(field, carry.gates)
    trial = try_step(field, solver, tolerance, carry)
    keep, length, controller_state = _judged(trial, solver, control, tolerance, carry)
    renewal = jnp.ones(())
    if field.kinks.count > 0:
        trial, renewal = _beyond(trial, keep)
    pace = _paced(trial, carry, keep, length, renewal)
    step, passed = trial.step, trial.passed
    reached = _reached(levels, field, step, trial.there)
    # Where `converged` is met on a step is not asked.
    lands = (reached > 0) & (reached < len(LEVELS))
    asks = keep & lands & (carry.landing == 0)
    landing = eqx.tree_at(
        lambda c: (c.landing, c.status), carry,
        (trial.length * trial.clock, jnp.full((), LANDING)),
    )  # fmt: skip
    new = _new_carry(field, carry, trial, keep, pace, reached)
    new = strong(Carry(**new, controller_state=controller_state))
    kept = keep & ~asks
    if field.kinks.count > 0:
        new = _turned(carry, new, passed, keep)
    if field.kinks.count > 0 or field.walled:
        cut = (keep & (passed.share < 1)) | passed.stuck
        new = _choose(cut, _cut(carry, new, passed, trial.length * trial.clock), new)
        asks, kept = asks & ~cut, kept & ~cut
    if field.walled and len(carry.walls.normals) == 0:
        # Also by a step that is rejected: nothing else ends where it can be kept.
        wanted = trial.met.wanted
        again = eqx.tree_at(lambda c: c.status, carry, jnp.full((), WALLED))
        new, asks, kept = _choose(wanted, again, new), asks & ~wanted, kept & ~wanted
    return _choose(asks, landing, new), step, kept


def _judged(
    trial: Trial,
    solver: dfx.AbstractAdaptiveSolver,
    control: dfx.PIDController,
    tolerance: Tolerance,
    carry: Carry,
) -> tuple[Bool[Array, ""], Scalar, PyTree]:
    """Whether to keep a step, how long the next may be, and what the controller keeps.

    That length is in the clock of this step, and heeds the error and the stages alone.
    """
    order = solver.error_order(TERM)
    assert order is not None, "An adaptive solver knows the order of its error."
    length, one = trial.length, jnp.ones(())
    keep, from_, to, _, controller_state, _ = control.adapt_step_size(
        jnp.zeros(()), length, one, one, trial.frame, trial.error * tolerance.rtol,
        order, carry.controller_state,
    )  # fmt: skip
    keep, next_length = jnp.asarray(keep), jnp.asarray(to - from_)
    if is_own(solver):
        longest = jnp.maximum(trial.solved.state.growth, SHRINK) * length
        next_length = jnp.where(keep, jnp.minimum(next_length, longest), next_length)
    return keep, next_length, controller_state


def _beyond(trial: Trial, keep: Bool[Array, ""]) -> tuple[Trial, Scalar]:
    """A step whose end is looked at with the gates beyond it, and what that renews."""
    frame, length, passed = trial.frame, trial.length, trial.passed
    step, there = trial.step, trial.there
    there, renewal = jax.lax.cond(
        keep & passed.some & (passed.share == 1),
        lambda: at_new_gates(frame, length, passed, step, there),
        lambda: (there, jnp.ones(())),
    )
    return trial._replace(there=there), renewal


class _Pace(NamedTuple):
    """How the loop goes on after a step.

    Attributes:
        length: Of the next step, in its own clock.
        slower: That clock against the one of this step.
        tiny: Whether such a step moves nothing.
    """

    length: Scalar
    slower: Scalar
    tiny: Bool[Array, ""]


def _paced(
    trial: Trial, carry: Carry, keep: Bool[Array, ""], length: Scalar, renewal: Scalar
) -> _Pace:
    """The length of the next step, from the one that error and stages allow."""
    frame, there, clock = trial.frame, trial.there, trial.clock
    calm = keep & (trial.error < FAR_BELOW) & (carry.most >= GROWTH)
    most = jnp.where(calm, GROWTH_AT_REST, carry.most) * trial.length
    # The clock of growth begins anew at each step.
    slower = jnp.where(keep, jnp.exp(-frame.log_growth(there.point)) * renewal, clock)
    length = jnp.minimum(length, most)
    tiny = length * jnp.max(frame.pulled / frame.size) < SHORTEST
    length = jnp.minimum(length * slower, LONGEST)
    # After a step that was cut short at a kink.
    again = jnp.where(keep, RESUME * carry.resume * slower / clock, 0.0)
    length = jnp.maximum(length, again)
    longest = jnp.where(keep, trial.met.longest, jnp.inf)
    return _Pace(jnp.minimum(length, longest * slower), slower, tiny)


def _new_carry(
    field: Field,
    carry: Carry,
    trial: Trial,
    keep: Bool[Array, ""],
    pace: _Pace,
    reached: Int[Array, ""],
) -> dict[str, PyTree]:
    """What the loop goes on with, as parts of a carry, its controller apart."""
    end = trial.passed.coordinates[-1]
    watched = watch(
        trial.frame, carry, trial.length, end, trial.there, trial.step, keep,
        pace.slower, trial.clock,
    )  # fmt: skip
    why = jnp.where(watched["unseen"], RESTING, jnp.where(watched["rests"], HELD, 0))
    status = jnp.where(reached == 0, why, reached)
    stuck = jnp.where(pace.tiny & ~keep, UNDERFLOW, RUNNING)
    new = _moved(field, carry, trial, keep)
    names = "looked", "searched", "strayed", "longest", "way"
    new |= {name: watched[name] for name in names}
    return new | {
        "length": pace.length,
        "most": jnp.where(keep, GROWTH, GROWTH_AFTER_FAILURE),
        "accepted": carry.accepted + keep,
        "rejected": carry.rejected + ~keep,
        "failed": carry.failed + (trial.solved.outcome != dfx.RESULTS.successful),
        # The frame, its curvature, and six forward passes of a third each.
        "gradients": carry.gradients + trial.solved.gradients + 6,
        "status": jnp.where(keep & (status > 0), status, stuck),
        "gates": carry.gates,
        "asked": carry.asked,
        "passed": carry.passed,
        "reached": status,
        "resume": jnp.where(keep, 0.0, carry.resume),
        "landing": jnp.where(keep, 0.0, carry.landing),
    }


def _choose(condition: Bool[Array, ""], one: PyTree, other: PyTree) -> PyTree:
    one, other = strong(one), strong(other)
    return jax.lax.cond(condition, lambda: one, lambda: other)


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


def _moved(field: Field, carry: Carry, trial: Trial, keep) -> dict[str, PyTree]:
    """Where the flow is after an attempt, as parts of a carry."""
    there, step, state = trial.there, trial.step, trial.solved.state
    stayed_state = carry.solver_state
    if state is not None:  # what a failed step has learned of the stiffness
        stayed_state = state.after_failure(carry.solver_state)
    moved = {
        "point": there.unit(field),
        "log_radius": field.coordinates.beside(step.log_radius),
        "dual": there.dual,
        "gradient": there.gradient,
        "margins": there.margins,
        "solver_state": state,
        "tau": step.tau,
        "log_t": step.log_t,
        "log_whole": step.log_radius,
        "walls": trial.met.walls,
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
    gone = (field.log_scale(step.log_radius) < VANISHED) & (along < 0)
    met = jnp.where((met == 0) & gone, VANISHING, met)
    if field.kinks.count > 0 or field.duals.linear:
        return met
    log_left = step.scalars.log_rate(jnp.ones(1))[0] - jnp.log(jnp.abs(along))
    straight = (field.degree == 1) & (along < 0) & (across <= TURNED * -along)
    passes = straight & (log_left < step.log_t + AT_ZERO)
    return jnp.where((met == 0) & passes, PASSING, met)
