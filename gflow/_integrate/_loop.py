"""The loop over steps: a jitted chunk of them at a time.

`diffrax.diffeqsolve` would allocate for `max_steps`, could show nothing, be interrupted
by nothing, and resume only nearly. Over the public `solver.step` and
`controller.adapt_step_size` a loop of our own does all that, each step in a frame of
its own.
"""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from .. import _log_time
from .._coordinates import two_norm
from .._field import Field
from .._jacobian import jacobian_of
from .._log_time import StepScalars
from .._seen import seen_margins
from .._sides import packed
from .._solvers import is_own
from .._steps import Sample, Steps
from .._turned import Turns
from .._types import Scalar
from .._until import Levels
from .._walls import no_walls
from ._attempt import GROWTH, LONGEST, RUNNING, attempt
from ._carry import Carry, Tolerance, strong
from ._trial import TERM


FIRST_STEP = 1.0
"""The share of the tolerance that the first step is guessed to use. Bold, since a guess
too long costs one step, and one too short a step for each factor of five."""


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
    margins, jacobian = jacobian_of(field, point)
    seen = seen_margins(field, margins, jacobian, log_radius)
    dual = field.dual_weights(margins, log_radius, seen)
    _, gradient = field.negative_gradient(point, dual)
    order = solver.error_order(TERM)
    guess = _first_length(field, point, gradient, tolerance, order)
    length, controller_state = control.init(
        TERM, zero, far, zero, guess, None, solver.func, order
    )
    carry = Carry(
        point=point,
        log_radius=log_radius,
        dual=dual,
        gradient=gradient,
        margins=margins,
        solver_state=solver.first(gradient, dual) if is_own(solver) else None,
        controller_state=controller_state,
        length=jnp.asarray(length),
        most=zero + GROWTH,
        longest=far,
        way=zero,
        looked=zero,
        searched=zero,
        strayed=zero,
        tau=zero,
        log_t=-far,
        log_whole=log_radius + jnp.log(two_norm(point)),
        accepted=none,
        rejected=none,
        failed=none,
        gradients=zero + 3,
        status=none + RUNNING,
        gates=field.gates,
        walls=no_walls(point.size),
        asked=jnp.zeros_like(field.gates.on),
        passed=none,
        reached=none,
        resume=zero,
        landing=zero,
    )
    start = Sample(
        tau=zero,
        log_t=-far,
        point=_polar_point(point, log_radius),
        log_loss=field.log_slope_and_loss(margins, log_radius, seen)[1],
        weights=dual,
    )
    return strong(carry), start


def _first_length(field: Field, point, gradient, tolerance: Tolerance, order) -> Scalar:
    """A guess of the length of the first step, from how fast units move."""
    unit, size = field.units.assign(point)
    relative = two_norm(gradient / jnp.where(size > 0, size, 1.0))
    relative = relative / jnp.sqrt(jnp.sum(field.units.portions(unit)))
    guess = (FIRST_STEP * tolerance.rtol) ** (1 / order)
    return jnp.minimum(guess / jnp.maximum(relative, 1e-300), LONGEST)


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
) -> tuple[
    Carry,
    Float[Array, "capacity columns"],
    UInt8[Array, "capacity bytes"],
    Int[Array, ""],
]:
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
        The carry, the steps as rows (see `unpack`), the gates after each, as `packed`
        has them, and how many they are.
    """

    def going(loop):
        carry, _, _, count, tries = loop
        return (carry.status == RUNNING) & (count < steps) & (tries < attempts)

    def try_one(loop):
        carry, rows, sides, count, tries = loop
        carry, step, keep = attempt(field, solver, control, tolerance, levels, carry)
        # A rejected step is written too, and overwritten by the next.
        row = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(step)])
        sides = sides.at[count].set(packed(carry.gates))
        return carry, rows.at[count].set(row), sides, count + keep, tries + 1

    like = _step_like(carry)
    rows = jnp.zeros((capacity, sum(leaf.size for leaf in jax.tree.leaves(like))))
    sides = jnp.zeros((capacity, -(-2 * carry.gates.on.size // 8)), jnp.uint8)
    zero = jnp.zeros((), int)
    carry, rows, sides, count, _ = jax.lax.while_loop(
        going, try_one, (carry, rows, sides, zero, zero)
    )
    return carry, rows, sides, count


def _step_like(carry: Carry) -> Steps:
    """The shapes of one accepted step."""

    def shape(*sizes):
        return np.broadcast_to(0.0, sizes)  # one number, however large

    size, one, seven = carry.point.size, shape(), shape(_log_time.RATE_NODES.size)
    return Steps(
        nodes=shape(4, size),
        rates=shape(size),
        growth=one,
        scalars=StepScalars(one, seven, seven, seven, seven, one, one, one, one),
        tau=one,
        log_t=one,
        log_radius=one,
        log_loss=one,
        weights=shape(4, carry.margins.size),
    )


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


def turns_of(
    field: Field, steps: Steps, sides: UInt8[Array, "capacity bytes"]
) -> Turns:
    """The gates after each step, if there are any."""
    if field.kinks.count == 0:
        return []
    return list(zip(steps.tau.tolist(), np.asarray(sides), strict=False))


def _polar_point(point, log_radius):
    """Direction and log-radius in one vector."""
    whole = two_norm(point)
    return jnp.append(point / whole, log_radius + jnp.log(whole))
