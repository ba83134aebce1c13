r"""Gates at the end of a step whose kinks the flow begins or ends to slide along.

What Filippov's rule asks of gates is checked here for gates that were guessed, and
that are right but where several kinks have a say together (see `_turns` for these).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._field import Field, seen_margins, two_norm
from ._sides import Gates
from ._slides import (
    ROUNDED,
    free_gradient,
    full_dual,
    kink_rows,
    multipliers,
    one_kink,
    strengths,
    unit_rows,
    with_gates,
    wrong_gates,
)
from ._types import Scalar


FLAT = 1e-6
"""A kink whose direction is so little of its own is left to the rule."""

ROUNDS = 12
"""How many guesses are tried; then Filippov's rule is left to the host."""


class Settled(NamedTuple):
    """Gates, the point on the kinks that they slide along, and whether all is right."""

    gates: Gates
    point: Float[Array, " weights"]
    right: Bool[Array, ""]


class _Guess(NamedTuple):
    """What is tried.

    Attributes:
        on: The gates that are on.
        slides: The kinks that are slid along.
        held: The kinks that are to have $u = 0$: these, and those just left.
        changed: The kinks whose gates have changed.
    """

    on: Bool[Array, "samples kinks"]
    slides: Bool[Array, "samples kinks"]
    held: Bool[Array, "samples kinks"]
    changed: Bool[Array, "samples kinks"]


def settled(
    field: Field,
    point: Float[Array, " weights"],
    log_radius: Scalar,
    dual: Float[Array, " margins"],
    on: Bool[Array, "samples kinks"],
    slides: Bool[Array, "samples kinks"],
) -> Settled:
    """Gates that the flow can go on with, from a guess of them.

    A kink on the wrong side of its gate changes it, or, if that was tried, is slid
    along. One whose multiplier is outside of [0, 1] is left, and slid along again if
    the flow leads it back.

    Args:
        field: The flow, at the gates so far.
        point: Where it is.
        log_radius: Of the weights over it.
        dual: $q$ there.
        on: The gates.
        slides: The kinks that it slides along.
    """
    changed = (on != field.gates.on) | slides

    def unfinished(loop):
        _, found, count = loop
        return (count == 0) | (~found.right & (count < ROUNDS))

    def again(loop):
        guess, _, count = loop
        return *_tried(field, point, log_radius, dual, guess), count + 1

    none = Settled(field.gates, point, jnp.asarray(False))
    loop = _Guess(on & ~slides, slides, slides, changed), none, jnp.asarray(0)
    _, found, _ = jax.lax.while_loop(unfinished, again, loop)
    if not field.straight:
        return found
    rows = kink_rows(field, found.point, found.gates.slides)
    normals, independent = _orthonormal(rows)
    gates = Gates(found.gates.on, found.gates.slides, normals)
    return Settled(gates, found.point, found.right & independent)


def _tried(field: Field, point, log_radius, dual, guess: _Guess):
    """The next guess, and what comes of this one."""
    room, like = field.gates.slides.size, guess.on
    numbers = jnp.flatnonzero(guess.held.ravel(), size=room, fill_value=-1)
    some = numbers >= 0
    slides = some & guess.slides.ravel()[numbers]
    none = jnp.zeros_like(field.gates.normals)
    there = with_gates(field, Gates(guess.on, jnp.where(slides, numbers, -1), none))
    for _ in range(1 if field.straight else 2):
        point = onto_kinks(there, point, numbers)
    unit = point
    if field.polar:
        size = two_norm(point)
        unit, log_radius = point / size, log_radius + jnp.log(size)
    whole = full_dual(there, there.margins(unit), log_radius, dual)
    rows = kink_rows(there, unit, numbers)
    s, slack = multipliers(there, unit, whole, jnp.where(slides[:, None], rows, 0.0))
    strength = strengths(there, unit, whole, numbers, jnp.clip(s, 0.0, 1.0))
    attracts = strength <= 0
    # What repels is crossed: both sides lead away, to that on which it moves.
    left = slides & ((s < -slack) | (s > 1 + slack) | ~attracts)
    # Those at rest on a kink need no force to stay there.
    between = slides & ~left & (s > slack) & (s < 1 - slack)
    beyond = jnp.where(attracts, s > 0.5, s < 0.5)
    on = guess.on | marked(like, numbers, slides & ~between & beyond)
    gates = Gates(on, jnp.where(between, numbers, -1), none)
    here = with_gates(field, gates)
    wrong = wrong_gates(here, unit) & ~guess.held
    pull = jax.vjp(here.margins, unit)[1](whole)[0]
    along, solve = unit_rows(jnp.where(between[:, None], rows, 0.0))
    speed = rows @ (pull - solve(along @ pull) @ along)
    speed = jnp.where(on.ravel()[numbers], -speed, speed)
    noise = ROUNDED * (jnp.abs(rows) @ jnp.abs(pull))
    back = some & ~between & ~left & (speed > noise)
    right = ~jnp.any(wrong) & ~jnp.any(left | back) & (jnp.sum(guess.held) <= room)
    # Kinks that depend on each other have no multipliers of their own.
    right = right & jnp.all(jnp.isfinite(point)) & jnp.all(jnp.isfinite(s))
    again = wrong & guess.changed
    slides = (guess.slides & ~marked(like, numbers, left)) | again
    slides = slides | marked(like, numbers, back & attracts)
    flips = (wrong & ~guess.changed) | marked(like, numbers, back & ~attracts)
    on = (on ^ flips) & ~slides
    new = _Guess(on, slides, guess.held | again, guess.changed | wrong)
    return new, Settled(gates, point, right)


def marked(like, numbers, some) -> Bool[Array, "samples kinks"]:
    """Some kinks among all, by their numbers."""
    flat = jnp.zeros(like.size + 1, bool).at[jnp.where(some, numbers, -1)].set(True)
    return flat[:-1].reshape(like.shape)


def renewed(field: Field, point, log_radius, dual):
    """What holds at a point at other gates than before.

    Args:
        field: The flow, at these gates.
        point: Where it is.
        log_radius: Of the weights over it.
        dual: $q$ at the gates before.

    Returns:
        Margins, dual weights, negative gradient, and the rate of the clock.
    """
    margins, jacobian = field.jacobian(point)
    if field.free:
        dual, total = -margins, jnp.ones(())
    else:
        known = dual > 0
        fresh = field.dual_weights(margins, log_radius, known, ~known)
        seen = seen_margins(field, jacobian)
        dual = jnp.where(known, dual, jnp.where(seen, fresh, 0.0))
        total = jnp.sum(dual)
        dual = dual / total
    return margins, dual, free_gradient(field, point, dual), total


def onto_kinks(field: Field, point, numbers) -> Float[Array, " weights"]:
    """The nearest point with $u = 0$ for some kinks, to first order."""
    rows = kink_rows(field, point, numbers)
    square = jnp.sum(rows**2, axis=1)
    size = jnp.sqrt(jnp.where(square > 0, square, 1.0))
    each = jax.vmap(one_kink, (None, None, 0))
    off = each(field, point, jnp.maximum(numbers, 0)) / size
    unit, solve = unit_rows(rows)
    return point - solve(jnp.where(numbers >= 0, off, 0.0)) @ unit


def _orthonormal(rows):
    """An orthonormal basis of the span of rows, some zero; are they independent?

    By the Cholesky factor, twice: units of size 1e-50 must not see rounding of others.
    """
    independent = jnp.asarray(True)
    for _ in range(2):
        square = jnp.sum(rows**2, axis=1)
        rows = rows / jnp.sqrt(jnp.where(square > 0, square, 1.0))[:, None]
        gram = rows @ rows.T + jnp.diag(jnp.where(square > 0, 0.0, 1.0))
        factor = jnp.linalg.cholesky(gram)
        independent = independent & jnp.all(jnp.diag(factor) > FLAT)
        rows = jax.scipy.linalg.solve_triangular(factor, rows, lower=True)
    return rows, independent
