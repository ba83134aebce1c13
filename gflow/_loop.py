"""The loop over steps: a jitted chunk of them at a time.

`diffrax.diffeqsolve` would allocate for `max_steps`, could show nothing, be interrupted
by nothing, and resume only nearly. Over the public `solver.step` and
`controller.adapt_step_size` a loop of our own does all that, each step in a frame of
its own.
"""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from . import _kinks, _log_time
from ._carry import Carry, Tolerance, strong
from ._field import Field, two_norm
from ._frame import (
    LOG_GROWTH,
    WAKE,
    frame_velocity,
    make_frame,
    seen_margins,
)
from ._log_time import StepScalars
from ._solvers import (
    AbstractSampleSpaceSolver,
    SampleSpaceState,
    gradients_per_attempt,
)
from ._trajectory import Sample, Steps
from ._types import Scalar
from ._until import LEVELS, Levels


TERM = dfx.ODETerm(frame_velocity)

FIRST_STEP = 1.0
"""The share of the tolerance that the first step is guessed to use. Bold, since a guess
too long costs one step, and one too short a step for each factor of five."""

SHRINK = 0.5
"""A step after one that was accepted is not shorter for the sake of its stages."""

GROWTH, GROWTH_AT_REST, GROWTH_AFTER_FAILURE = 5.0, 100.0, 2.0
"""How much longer a step may be than the one before. With 10 in place of 5 it cycles
between failure and growth."""

FAR_BELOW = 1e-3
"""An error this far below the tolerance lets steps grow as at rest."""

QUIET = 1e-2
"""Where units move less than this on a step, frames apart, its error says nothing of
unstable modes that are too small to be seen."""

MOVED = 1e-6
"""A step moves a unit by this much of its size, or its slope is taken anew."""

FAR = 0.1
"""Units that have moved so far may be at another rest."""

LONG = 0.3
"""Steps of this many times of the fastest unit may damp what they do not see."""

AGAIN = 1e4
"""Modes are looked at again where steps have become so much longer."""

LONGEST = 1e280
"""The longest step: where nothing moves, steps would grow past all bounds."""

SHORTEST = 1e-20
"""The shortest way, unit by unit, that is worth a step."""

VANISHED = -1e4
"""$L \\rho$ below which a flow that still shrinks never comes back."""

RUNNING = 0
UNDERFLOW, RESTING, VANISHING = (len(LEVELS) + k for k in (1, 2, 3))
"""Ways to stop beside `LEVELS`, which are 1, 2, ..."""


def begin(
    field: Field,
    solver: dfx.AbstractAdaptiveSolver,
    control: dfx.PIDController,
    tolerance: Tolerance,
    point: Float[Array, " weights"],
    log_radius: Scalar,
) -> tuple[Carry, Sample]:
    """The carry before the first step, and the first sample."""
    zero, far, none = jnp.zeros(()), jnp.full((), jnp.inf), jnp.zeros((), int)
    margins, jacobian = field.jacobian(point)
    seen = seen_margins(field, jacobian)
    dual = field.dual_weights(margins, log_radius, seen)
    _, gradient = field.negative_gradient(point, dual)
    frame = make_frame(
        field, point, log_radius, dual, gradient, zero, tolerance.rtol
    )
    order = solver.error_order(TERM)
    guess = (FIRST_STEP * tolerance.rtol) ** (1 / order) / jnp.maximum(
        two_norm(frame.weight * frame.gradient), 1e-300
    )
    guess = jnp.minimum(guess, LONGEST)
    length, controller_state = control.init(
        TERM, zero, far, zero, guess, frame, solver.func, order
    )
    own = isinstance(solver, AbstractSampleSpaceSolver)
    carry = Carry(
        point=point,
        log_radius=log_radius,
        dual=dual,
        gradient=gradient,
        margins=margins,
        solver_state=solver.init(TERM, zero, zero, point, frame) if own else None,
        controller_state=controller_state,
        length=length,
        most=zero + GROWTH,
        longest=far,
        way=zero,
        looked=zero,
        strayed=zero,
        tau=zero,
        log_t=-far,
        log_whole=log_radius + jnp.log(two_norm(point)),
        accepted=none,
        rejected=none,
        failed=none,
        gradients=zero + 3,
        status=none + RUNNING,
        kink=_kinks.no_kink(),
    )
    start = Sample(
        tau=zero,
        log_t=-far,
        point=_polar_point(point, log_radius),
        log_loss=field.log_slope_and_loss(margins, log_radius, seen)[1],
        weights=dual,
    )
    return strong(carry), start


def advance(
    field: Field,
    solver: dfx.AbstractAdaptiveSolver,
    control: dfx.PIDController,
    tolerance: Tolerance,
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
        tolerance: That of a step.
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
        new, step, keep = _attempt(field, solver, control, tolerance, levels, carry)
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

    def shape(*sizes):
        return jax.ShapeDtypeStruct(sizes, float)

    size, powers = carry.point.size, shape(_log_time.RATE_NODES.size)
    scalars = StepScalars(shape(), *[powers] * 4, *[shape()] * 3)
    return Steps(
        shape(4, size), shape(size), shape(), scalars, *[shape()] * 4,
        shape(carry.margins.size),
    )  # fmt: skip


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


def _attempt(field, solver, control, tolerance, levels, carry):
    """One step, accepted or not: the new carry, the step, and whether it was kept."""
    zero = jnp.zeros(())
    length = jnp.minimum(carry.length, carry.longest)
    frame = make_frame(
        field, carry.point, carry.log_radius, carry.dual, carry.gradient, length,
        tolerance.rtol,
    )  # fmt: skip
    steepest = jnp.max(jnp.abs(frame.sigma))
    length = jnp.minimum(length, LOG_GROWTH / jnp.maximum(steepest, 1e-300))
    own = isinstance(solver, AbstractSampleSpaceSolver)
    given = carry.solver_state if own else solver.init(TERM, zero, zero, carry.point, frame)
    end, error, dense_info, solver_state, outcome = solver.step(
        TERM, zero, length, frame.start, frame, given, jnp.asarray(True)
    )
    interpolation = solver.interpolation_cls(t0=zero, t1=length, **dense_info)
    point = frame.point(length, end)
    dual = solver_state.dual if own else None
    step, margins = _step(field, frame, interpolation, length, carry, point, dual)
    dual, gradient, awake = _arrival(field, frame, solver_state, length, point, own)

    scaled = _scaled_error(frame, length, point, error, tolerance)
    log_elapsed = step.scalars.log_elapsed(jnp.ones(()))
    slip = _log_time.time_error(step.scalars, step.log_t, log_elapsed)
    scaled = jnp.hypot(scaled, slip / tolerance.rtol)
    usable = jnp.isfinite(scaled) & jnp.isfinite(two_norm(gradient)) & ~awake
    scaled = jnp.where(usable, scaled, jnp.inf)
    keep, from_, to, _, controller_state, _ = control.adapt_step_size(
        zero, length, jnp.ones(()), jnp.ones(()), frame, scaled * tolerance.rtol,
        solver.error_order(TERM), carry.controller_state,
    )  # fmt: skip
    next_length, kink = to - from_, carry.kink
    if own and field.kinked:
        next_length, kink = _kinks.next_length(
            _kinks.kink_table(solver.table.nodes, solver.table.error),
            kink, keep, length, next_length, GROWTH, scaled,
            frame.weight * dense_info["k"],
        )  # fmt: skip
    if own:
        longest = jnp.maximum(solver_state.growth, SHRINK) * length
        next_length = jnp.where(keep, jnp.minimum(next_length, longest), next_length)
    calm = keep & (scaled < FAR_BELOW) & (carry.most >= GROWTH)
    most = jnp.where(calm, GROWTH_AT_REST, carry.most) * length
    next_length = jnp.minimum(next_length, most)
    slower = jnp.where(keep, jnp.exp(-frame.log_growth(point)), 1.0)
    next_length = jnp.minimum(next_length * slower, LONGEST)
    # Of a part of the tolerance, or the sum of many pulls, whatever is more.
    tiny = next_length * two_norm(frame.weight * frame.pulled) < SHORTEST
    stuck = jnp.where(tiny & ~keep, UNDERFLOW, RUNNING)
    moved = two_norm(frame.weight * (end - frame.start))
    fastest = jnp.max(frame.pulled / frame.size)
    quiet = keep & (moved < QUIET) & field.euclidean & (length * fastest > LONG)
    quiet = quiet & field.mild(margins, field.scale(margins, step.log_radius))
    strayed = carry.strayed + jnp.where(keep, moved, 0.0)
    looked = jnp.where(strayed > FAR, 0.0, carry.looked)
    way = jnp.where(keep & (carry.way > 0), carry.way - length, carry.way)
    seen_now = (carry.way > 0) & (way <= 0)
    looked = jnp.where(seen_now, 0.0, looked)
    status = _status(levels, step, field, point, gradient, jnp.min(margins))
    unseen = quiet & (length > AGAIN * looked)
    status = jnp.where((status == 0) & unseen, RESTING, status)
    status = jnp.where(keep & (status > 0), status, stuck)

    whole = two_norm(point)
    if own:
        spent = solver_state.gradients - carry.solver_state.gradients
    else:
        spent = gradients_per_attempt(solver)
        solver_state = None
    if field.polar:
        point, log_radius = point / whole, step.log_radius
    else:
        log_radius = carry.log_radius
    moved = (point, log_radius, dual, gradient, margins, solver_state, step.log_t)
    stayed = (
        carry.point, carry.log_radius, carry.dual, carry.gradient, carry.margins,
        carry.solver_state, carry.log_t,
    )  # fmt: skip
    if own:  # what a failed step has learned of the stiffness
        learned = eqx.tree_at(
            lambda c: (c.stiff, c.gradients),
            carry.solver_state,
            (solver_state.stiff, solver_state.gradients),
        )
        stayed = (*stayed[:5], learned, stayed[6])
    moved, stayed = strong(moved), strong(stayed)
    point, log_radius, dual, gradient, margins, solver_state, log_t = jax.lax.cond(
        keep, lambda: moved, lambda: stayed
    )
    failed = outcome != dfx.RESULTS.successful
    new = Carry(
        point=point,
        log_radius=log_radius,
        dual=dual,
        gradient=gradient,
        margins=margins,
        solver_state=solver_state,
        controller_state=controller_state,
        length=next_length,
        most=jnp.where(keep, GROWTH, GROWTH_AFTER_FAILURE),
        longest=jnp.where(looked > 0, carry.longest * slower, jnp.inf),
        way=jnp.where(looked > 0, way * slower, 0.0),
        looked=looked * slower,
        strayed=jnp.where((looked > 0) & (status != RESTING), strayed, 0.0),
        tau=jnp.where(keep, step.tau, carry.tau),
        log_t=log_t,
        log_whole=jnp.where(keep, step.log_radius, carry.log_whole),
        accepted=carry.accepted + keep,
        rejected=carry.rejected + ~keep,
        failed=carry.failed + failed,
        # The frame, its curvature, and six forward passes of a third each.
        gradients=carry.gradients + spent + 6,
        status=status,
        kink=kink,
    )
    return strong(new), step, keep


def _arrival(field, frame, solver_state, length, point, own):
    """The dual weights and negative gradient at the end, and whether a unit woke up.

    In polar coordinates the gradient is that of the point brought back to norm one.
    """
    if own:
        dual = solver_state.dual
    else:
        dual = frame.dual_weights(field.margins(point), length)
    whole = two_norm(point)

    _, gradient = field.negative_gradient(point, dual)
    awake = jnp.asarray(False)
    if own and field.euclidean:
        slope = frame.point(length, solver_state.slope) + frame.rate * point
        slope = slope * jnp.exp(frame.log_speed(point))
        # By positions: late, q has no digits. But a unit that has hardly moved on this
        # step has a slope below the rounding of its position.
        force = field.units.norms(gradient, frame.unit)
        stiff = ~frame.rest & ~frame.walls.held & (length * force > MOVED * frame.size)
        least = jnp.maximum(WAKE[0] * frame.rtol, WAKE[1])
        awake = jnp.any(frame.rest & (force > least * frame.pulled))
        gradient = jnp.where(stiff, slope, gradient)
    if field.polar:
        gradient = gradient / whole ** (field.degree - 1)
    return dual, gradient, awake


def _scaled_error(frame, length, point, error, tolerance):
    """The error of a step in units of the tolerance: unit by unit, and of the whole."""
    units = frame.field.units
    error = frame.point(length, error)
    before = jnp.exp(-frame.growth * length) * units.unit_norms(
        frame.start, frame.unit
    )
    after = units.unit_norms(point, frame.unit)
    whole = two_norm(point)
    against = tolerance.rtol * jnp.maximum(before, after) + tolerance.atol * whole
    lost = units.unit_norms(error, frame.unit)
    share = jnp.where(against > 0, lost / jnp.where(against > 0, against, 1.0), 0.0)
    count = jnp.sum(against > 0)
    by_unit = jnp.sqrt(jnp.sum(share**2) / jnp.maximum(count, 1))
    return jnp.maximum(by_unit, two_norm(error) / whole / tolerance.rtol)


def _step(field, frame, interpolation, length, carry, point, dual):
    """The step as a trajectory keeps it, and the margins at its end."""
    inside = [_log_time.NODES[1:-1], _log_time.RATE_NODES[1:-1]]
    inner = jax.vmap(interpolation.evaluate)(length * np.concatenate(inside))
    quarters, sixths = inner[:3], inner[3:]
    last = jnp.exp(-frame.sigma * length) * point
    start = two_norm(frame.start)
    nodes = jnp.concatenate([quarters, last[None]]) / start

    times = length * _log_time.RATE_NODES
    points = jax.vmap(frame.point)(times[1:-1], sixths)
    points = jnp.concatenate([frame.start[None], points, point[None]])

    def one(s, x):
        whole = two_norm(x)
        log_radius = frame.log_radius_at(s) + jnp.log(whole)
        if field.polar:
            margins, gauge = field.margins(x / whole), log_radius
        else:
            margins, gauge = field.margins(x), jnp.zeros(())
        log_slope, log_loss = field.log_slope_and_loss(margins, gauge, frame.seen)
        log_growth = frame.log_growth(x)
        log_rate = -log_slope - log_growth
        log_tau_rate = -log_growth
        if field.clock in ("loss", "arc_length"):
            log_tau_rate = -log_growth - field.growth_power * log_radius
        if field.clock == "arc_length":
            q = field.dual_weights(margins, gauge, frame.seen)
            unit = x / whole if field.polar else x
            pull = jax.vjp(field.margins, unit)[1](q)[0]
            square = jnp.dot(pull, field.norm.direction(pull))
            far = (field.degree - 1) * log_radius if field.polar else 0.0
            log_tau_rate += far + jnp.log(jnp.maximum(square, 1e-290)) / 2
        return log_radius, log_rate, log_loss, log_tau_rate, margins

    log_radius, log_rate, log_loss, log_tau_rate, margins = jax.vmap(one)(times, points)
    scalars = _log_time.step_scalars(
        field, length, log_radius, log_rate, log_loss, log_tau_rate
    )
    one_ = jnp.ones(())
    log_t = _log_time.log_add(carry.log_t, scalars.log_elapsed(one_))
    tau = _log_time.tau_at(
        field.clock, carry.tau, log_t, scalars.log_tau_elapsed(one_)
    )
    if dual is None:
        dual = frame.dual_weights(field.margins(point), length)
    step = Steps(
        nodes=nodes,
        rates=frame.sigma * length,
        growth=frame.growth * length,
        scalars=scalars,
        tau=tau,
        log_t=log_t,
        log_radius=log_radius[-1],
        log_loss=log_loss[-1],
        weights=dual,
    )
    return step, margins[-1]


def _polar_point(point, log_radius):
    """Direction and log-radius in one vector."""
    whole = two_norm(point)
    return jnp.append(point / whole, log_radius + jnp.log(whole))


def _status(levels, step, field, point, gradient, margin):
    """Whether the end of this step meets a level."""
    unit = point / two_norm(point)
    along = jnp.dot(unit, gradient)
    across = two_norm(gradient - along * unit)
    tangent = jnp.where((margin > 0) & (along > 0), across / along, jnp.inf)
    log_scale = step.scalars.degree * step.log_radius
    reached = levels.reached(
        jnp.stack([step.log_t, step.log_radius, log_scale, -step.log_loss, -tangent])
    )
    gone = field.polar & (log_scale < VANISHED) & (along < 0)
    return jnp.where((reached == 0) & gone, VANISHING, reached)
