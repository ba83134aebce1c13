"""The iteration of a stage: accelerated Newton steps with one linear model."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._coordinates import two_norm
from .._frame import Frame
from .._types import Scalar
from ._anderson import accelerate, empty_history
from ._direct import follows_of, may_be_direct
from ._dual import stage_weights
from ._model import StageModel, steepest_model


DUAL_TOLERANCE = 0.03
"""The error left in the dual weights of a stage, against the error of the iterate."""

ASTRAY = 0.3
"""Iterates so many sizes of units apart have lost their way: begin from the guess."""

LOOK = 8
"""With many weights a stage is given up when its last iterations, so many, show that it
will not converge in time: otherwise failures would cost more than successes."""

TRIES = 3
"""Nor is it sought for the weights alone if it is still astray after so many."""

UNSURE = 2.0
"""The error, in units of the goal, where a small one proves nothing."""


class Stage(NamedTuple):
    r"""A stage $D x = \beta + \eta F(x, q)$ of a step.

    Attributes:
        frame: Of the step.
        base: $\beta$.
        s: Its time.
        eta: Its length.
        scaling: What errors of each weight are measured by, there.
    """

    frame: Frame
    base: Float[Array, " weights"]
    s: Scalar
    eta: Scalar
    scaling: Float[Array, " weights"]


class Mapped(NamedTuple):
    """Where Newton's method leads; dual weights that it does not find are `lost`."""

    point: Float[Array, " weights"]
    dual: Float[Array, " margins"]
    lost: Bool[Array, ""]


def iterate(
    stage: Stage,
    given: StageModel,
    point: Float[Array, " weights"],
    dual: Float[Array, " margins"],
    most: int,
    goal: Scalar,
    direct: Bool[Array, ""],
    memory: int,
) -> tuple[Float[Array, " weights"], Float[Array, " margins"], Int[Array, ""], Scalar]:
    """The solution of a stage, as far as one model leads.

    Args:
        stage: The stage.
        given: The model.
        point: Where to begin.
        dual: With these dual weights.
        most: How many iterations it may take.
        goal: The error at which to stop.
        direct: Whether the dual weights follow the point.
        memory: How many differences Anderson acceleration keeps.

    Returns:
        The point, its dual weights, the number of iterations, and the error.
    """
    scaling = stage.scaling

    def step(carry):
        point, q, history, count, error, best, mark, _ = carry
        new, mild = _mapped(stage, given, point, q, error, goal, direct)
        residual = scaling * (new.point - point)
        # Weights that were not found will not be found from there either.
        error = jnp.where(new.lost, jnp.inf, two_norm(residual))
        moved, history = accelerate(history, scaling * new.point, residual)
        # The best error of each `LOOK` iterations against that of those before.
        best, look = jnp.minimum(best, error), (count + 1) % LOOK == 0
        blocks_left = (most - count - 1) / LOOK
        hopeless = look & (best * (best / mark) ** blocks_left > goal)
        hopeless = hopeless | (direct & (count >= TRIES) & (error > ASTRAY))
        error = jnp.where(hopeless & (error > goal), jnp.inf, error)
        mark = jnp.where(look, best, mark)
        moved = moved / scaling
        return moved, new.dual, history, count + 1, error, best, mark, mild

    def unfinished(carry):
        *_, count, error, _, _, _ = carry
        going = (count == 0) | (jnp.isfinite(error) & (error > goal))
        return going & (count < most)

    history, far = empty_history(memory, point.size), jnp.asarray(jnp.inf)
    none, mild = jnp.asarray(0), jnp.asarray(False)
    start = (point, dual, history, none, far, far, far, mild)
    point, q, _, count, error, _, _, mild = jax.lax.while_loop(unfinished, step, start)

    q, error = _ended(stage, given, point, q, error, goal, direct, mild)
    return point, q, count, error


def _exact(stage: Stage, q, margins, mild):
    """Dual weights from the margins, where they are mild or not in the equations."""
    weights = stage.frame.dual_weights(margins, stage.s)
    return jnp.where(mild | stage.frame.lost, weights, q)


def _mapped(stage: Stage, given: StageModel, point, q, error, goal, direct):
    """Where Newton's method leads from an iterate, and whether its weights are mild."""
    field = stage.frame.field
    margins, pullback = jax.vjp(field.margins, point)
    scale = field.scale(margins, stage.frame.log_radius_at(stage.s))
    mild = field.mild(margins, scale) | direct
    q = _exact(stage, q, margins, mild)
    defect = _defect(stage, point, pullback, q)

    def both():
        model = given
        if not field.euclidean:
            model = steepest_model(stage.frame, given, pullback(q)[0])
        tolerance = DUAL_TOLERANCE * jnp.clip(error, 3 * goal, 1e-2)
        return _newton_map(stage, model, defect, point, q, margins, scale, tolerance)

    def alone():
        # The dual weights follow the point.
        return Mapped(point - given.whole.undo(defect), q, jnp.asarray(False))

    if may_be_direct(stage.frame):
        return jax.lax.cond(direct, alone, both), mild
    return both(), mild


def _ended(stage: Stage, given: StageModel, point, q, error, goal, direct, mild):
    """The dual weights where an iteration ends, and the error as far as it is known."""
    frame = stage.frame

    def anew():
        margins = frame.field.margins(point)
        weights = _exact(stage, q, margins, mild)
        if not may_be_direct(frame):
            return weights, error
        log_radius = frame.log_radius_at(stage.s)
        rate = stage.eta / jnp.exp(frame.log_speed(point))
        follows = rate * follows_of(frame, margins, weights, log_radius)
        unsure = direct & (error <= goal) & given.whole.overstates(follows)
        return weights, jnp.where(unsure, UNSURE * goal, error)

    return jax.lax.cond(mild | jnp.any(frame.lost), anew, lambda: (q, error))


def _defect(stage: Stage, point, pullback, dual):
    """What a stage misses at a point and dual weights."""
    frame = stage.frame
    motion = frame.motion(stage.s, point, pullback, dual)
    # The fastest motion is that of the frame, and cancels before it is long.
    return point - stage.base - stage.eta * (motion - frame.rate * point)


def _newton_map(
    stage: Stage, model: StageModel, defect, point, dual, margins, scale, goal
):
    """Where Newton's method moves the point and its dual weights; if these are lost."""
    frame = stage.frame
    step = stage.eta / jnp.exp(frame.log_speed(point))
    # Those that are lost pull as they do, and are not in the equations of the others.
    lost = jnp.where(frame.lost, dual, 0.0)
    free = model.free_point(defect, point, dual - lost, step)
    new, answer, left = stage_weights(
        frame.field, dual - lost, margins + model.jacobian @ (free - point), model.gram,
        model.flat, scale, frame.seen, step, goal, (point - free) / step,
    )  # fmt: skip
    found = left <= ASTRAY * two_norm(point)
    return Mapped(free + step * answer, jnp.where(frame.lost, dual, new), ~found)
