"""The loop over steps: a jitted chunk of them at a time.

`diffrax.diffeqsolve` would allocate for `max_steps`, could show nothing, be interrupted
by nothing, and resume only nearly. Over the public `solver.step` and
`controller.adapt_step_size` a loop of our own does all that.
"""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from . import _kinks, _log_time
from ._carry import Carry, strong
from ._field import AbstractField, State, field_velocity, two_norm
from ._log_time import StepScalars
from ._solvers import (
    AbstractSampleSpaceSolver,
    SampleSpaceState,
    gradients_per_attempt,
)
from ._trajectory import Sample, Steps
from ._types import Scalar
from ._until import LEVELS, Levels


TERM = dfx.ODETerm(field_velocity)

FIRST_STEP = 1.0
"""The share of the tolerance that the first step is guessed to use. Bold, since a guess
too long costs one step, and one too short a step for each factor of five."""

SHRINK = 0.5
"""A step after one that was accepted is not shorter for the sake of its stages."""

LONGEST = 1e280
"""The longest step: where nothing moves, steps would grow past all bounds."""

SHORTEST = 1e-20
"""The shortest way, in direction and log-radius, that is worth a step."""

RUNNING = 0
UNDERFLOW = len(LEVELS) + 1
"""A way to stop beside `LEVELS`, which are 1, 2, ..."""


def begin(
    field: AbstractField,
    solver: dfx.AbstractAdaptiveSolver,
    control: dfx.PIDController,
    state: State,
) -> tuple[Carry, Sample]:
    """The carry before the first step, and the first sample."""
    zero, far, none = jnp.zeros(()), jnp.full((), jnp.inf), jnp.zeros((), int)
    solver_state = solver.init(TERM, zero, zero, state, field)
    weights, velocity = _dynamics(field, solver_state, state)
    margins = field.margins(state[:-1])
    start = Sample(
        tau=zero,
        log_t=-far,
        point=field.polar_point(state),
        log_loss=field.log_pull_and_loss(margins, state)[1],
        weights=_shown(field, weights),
    )
    order = solver.error_order(TERM)
    guess = (FIRST_STEP * control.rtol) ** (1 / order) / jnp.maximum(
        _speed(field, state, velocity), 1e-300
    )
    guess = jnp.minimum(guess, LONGEST)
    length, controller_state = control.init(
        TERM, zero, far, state, guess, field, solver.func, order
    )
    carry = Carry(
        tau=zero,
        length=length,
        state=state,
        margins=margins,
        solver_state=jax.tree.map(jnp.asarray, solver_state),
        controller_state=jax.tree.map(jnp.asarray, controller_state),
        made_jump=jnp.zeros((), bool),
        log_t=-far,
        accepted=none,
        rejected=none,
        failed=none,
        gradients=zero + 2,
        status=none + RUNNING,
        kink=_kinks.no_kink(),
    )
    return strong(carry), start


def advance(
    field: AbstractField,
    solver: dfx.AbstractAdaptiveSolver,
    control: dfx.PIDController,
    levels: Levels,
    carry: Carry,
    steps: Int[Array, ""],
    attempts: Int[Array, ""],
    capacity: int,
) -> tuple[Carry, Float[Array, "capacity columns"], Int[Array, ""]]:
    """Up to so many accepted steps and attempts, fewer if the flow reaches a level.

    Args:
        field: The vector field.
        solver: The solver, its stage tolerance set.
        control: The step size controller.
        levels: Where to stop.
        carry: Where the loop is.
        steps: How many steps to accept, at most `capacity`.
        attempts: How many to try.
        capacity: The size of the buffers; another compiles anew.

    Returns:
        The carry, the steps as rows (see `unpack`), and how many they are.
    """

    def going(loop):
        carry, _, count, tries = loop
        return (carry.status == RUNNING) & (count < steps) & (tries < attempts)

    def attempt(loop):
        carry, rows, count, tries = loop
        new, step, keep = _attempt(field, solver, control, levels, carry)
        # A rejected step is written too, and overwritten by the next.
        row = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(step)])
        return new, rows.at[count].set(row), count + keep, tries + 1

    like = _step_like(carry)
    rows = jnp.zeros((capacity, sum(leaf.size for leaf in jax.tree.leaves(like))))
    zero = jnp.zeros((), int)
    carry, rows, count, _ = jax.lax.while_loop(
        going, attempt, (carry, rows, zero, zero)
    )
    return carry, rows, count


def _step_like(carry: Carry) -> Steps:
    """The shapes of one accepted step."""
    scalar = jax.ShapeDtypeStruct((), float)
    powers = jax.ShapeDtypeStruct((_log_time.RATE_NODES.size,), float)
    nodes = jax.ShapeDtypeStruct((4, carry.state.size), float)
    scalars = StepScalars(scalar, powers, powers, powers, scalar, scalar, scalar)
    samples = jax.ShapeDtypeStruct(carry.margins.shape, float)
    return Steps(nodes, scalars, scalar, scalar, scalar, samples)


def unpack(rows: Float[np.ndarray, "steps columns"], carry: Carry) -> Steps:
    """The accepted steps in the rows that `advance` returned."""
    leaves, structure = jax.tree.flatten(_step_like(carry))
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = np.split(rows, ends, axis=1)
    shaped = [
        part.reshape(len(rows), *leaf.shape)
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, shaped)


def _attempt(field, solver, control, levels, carry):
    """One step, accepted or not: the new carry, the step, and whether it was kept."""
    # The flow is autonomous, and every step starts at zero: a step of length 1 after a
    # plateau of length 1e20 must not drown in rounding.
    zero, length = jnp.zeros(()), carry.length
    end, error, dense_info, solver_state, outcome = solver.step(
        TERM, zero, length, carry.state, field, carry.solver_state, carry.made_jump
    )
    interpolation = solver.interpolation_cls(t0=zero, t1=length, **dense_info)
    inside = [_log_time.NODES[1:-1], _log_time.RATE_NODES[1:-1]]
    inner = jax.vmap(interpolation.evaluate)(length * np.concatenate(inside))
    states = jax.vmap(field.settle)(jnp.concatenate([inner, end[None]]))
    points = jax.vmap(field.polar_point)(states)
    nodes = jnp.concatenate([points[: len(inside[0])], points[-1:]])
    rated, end = states[len(inside[0]) :], states[-1]
    margins = jax.vmap(field.margins)(rated[:, :-1])
    margins = jnp.concatenate([carry.margins[None], margins])
    scalars, log_loss = _scalars(
        field, length, jnp.concatenate([carry.state[None], rated]), margins
    )
    log_elapsed = scalars.log_elapsed(jnp.ones(()))
    log_t = _log_time.log_add(carry.log_t, log_elapsed)

    weights, velocity = _dynamics(field, solver_state, end)
    time_error = _log_time.time_error(scalars, log_t, log_elapsed)
    unit = jnp.maximum(field.unit(carry.state), field.unit(end))
    last = jnp.maximum(jnp.abs(error[-1]), time_error)
    error = jnp.append(error[:-1] / unit, last)
    _, velocity_before = _dynamics(field, carry.solver_state, carry.state)
    usable = jnp.isfinite(two_norm(error) + two_norm(end))
    error = jnp.where(usable, error, jnp.inf)
    before, after = (s.at[:-1].divide(unit) for s in (carry.state, end))
    keep, from_, to, made_jump, controller_state, _ = control.adapt_step_size(
        zero, length, before, after, field, error, solver.error_order(TERM),
        carry.controller_state,
    )  # fmt: skip
    next_length, kink = to - from_, carry.kink
    if isinstance(solver, AbstractSampleSpaceSolver):
        size = jnp.maximum(jnp.abs(before), jnp.abs(after))
        scaled = control.norm(error / (control.atol + control.rtol * size))
        next_length, kink = _kinks.next_length(
            _kinks.kink_table(solver.table.nodes, solver.table.error),
            kink, keep, length, next_length, control.factormax, scaled,
            dense_info["k"],
        )  # fmt: skip
        longest = jnp.maximum(solver_state.growth, SHRINK) * length
        next_length = jnp.where(keep, jnp.minimum(next_length, longest), next_length)
    next_length = jnp.minimum(next_length, LONGEST)
    if isinstance(solver_state, SampleSpaceState):
        spent = solver_state.gradients - carry.solver_state.gradients
    else:
        spent = gradients_per_attempt(solver)
    step = Steps(
        nodes=nodes,
        scalars=scalars,
        tau=carry.tau + length,
        log_t=log_t,
        log_loss=log_loss,
        weights=_shown(field, weights),
    )
    status = _status(levels, step, field, end, velocity, jnp.min(margins[-1]))
    tiny = next_length * _speed(field, carry.state, velocity_before) < SHORTEST
    stuck = jnp.where(tiny & ~keep, UNDERFLOW, RUNNING)

    moved = (end, margins[-1], solver_state, log_t)
    stayed = (carry.state, carry.margins, carry.solver_state, carry.log_t)
    moved, stayed = strong(moved), strong(stayed)
    end, margins, solver_state, log_t = jax.lax.cond(
        keep, lambda: moved, lambda: stayed
    )
    new = Carry(
        tau=jnp.where(keep, step.tau, carry.tau),
        length=next_length,
        state=end,
        margins=margins,
        solver_state=solver_state,
        controller_state=controller_state,
        made_jump=jnp.asarray(made_jump),
        log_t=log_t,
        accepted=carry.accepted + keep,
        rejected=carry.rejected + ~keep,
        failed=carry.failed + (outcome != dfx.RESULTS.successful),
        gradients=carry.gradients + spent + 2,  # six forward passes, a third each
        status=jnp.where(keep & (status > 0), status, stuck),
        kink=kink,
    )
    return strong(new), step, keep


def _scalars(field, length, states, margins):
    """The scalars of a step from states and margins at the `RATE_NODES`."""

    def one(state, margins):
        log_pull, log_loss = field.log_pull_and_loss(margins, state)
        log_rate = field.log_rate(state, margins, log_pull)
        return field.polar_point(state)[-1], log_rate, log_loss

    log_radius, log_rate, log_loss = jax.vmap(one)(states, margins)
    scalars = _log_time.step_scalars(field, length, log_radius, log_rate, log_loss)
    return scalars, log_loss[-1]


def _speed(field: AbstractField, state: State, velocity: State) -> Scalar:
    """How fast a state moves, relative to its size."""
    return two_norm(velocity.at[:-1].divide(field.unit(state)))


def _shown(field: AbstractField, weights: Float[Array, " margins"]):
    """The weights as a trajectory holds them: of sum one where they are positive."""
    return weights / jnp.sum(weights) if field.dual == "positive" else weights


def _dynamics(field: AbstractField, solver_state: PyTree, state: State):
    """The weights and the velocity at a state, as the solver knows them if it does."""
    if isinstance(solver_state, SampleSpaceState):
        return solver_state.weights, solver_state.velocity
    weights = field.weights(state)
    return weights, field.velocity(state[:-1], weights)[0]


def _status(levels, step, field, state, velocity, margin):
    """Whether the end of this step meets a level."""
    log_radius = step.nodes[-1, -1]
    along, across = field.growth_and_turning(state, velocity)
    tangent = jnp.where((margin > 0) & (along > 0), across / along, jnp.inf)
    log_scale = step.scalars.degree * log_radius
    return levels.reached(
        jnp.stack([step.log_t, log_radius, log_scale, -step.log_loss, -tangent])
    )
