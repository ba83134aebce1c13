r"""Gates at the end of a step whose kinks the flow begins or ends to slide along.

What Filippov's rule asks of gates is checked here for gates that were guessed. What it
finds wrong is changed, all at once; where that does not make less wrong, one kink at a
time (for kinks of one layer that is Murty's method for linear complementarity, which
ends).

References:
    Júdice and Pires (1994), "A block principal pivoting algorithm for large-scale
    strictly monotone linear complementarity problems".
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._coordinates import two_norm
from ._directions import Directions, kink_directions, kink_values, with_normals
from ._field import Field
from ._jacobian import jacobian_of
from ._seen import seen_margins
from ._sides import Gates
from ._slides import (
    ROUNDED,
    free_gradient,
    full_dual,
    multipliers_along,
    projector,
    with_gates,
    wrong_gates,
)
from ._types import Scalar


ROUNDS = 40
"""How many guesses are tried; then Filippov's rule is left to the host."""

PATIENCE = 3
"""So many guesses may be no better than the best before, until kinks are changed one at
a time."""

HELD = 2
"""In a block of all weights so many times more kinks may be held than slid along."""

SAME = 1e-12
"""Directions whose cosine differs by less from one are the same."""

ONTO = 3
"""Steps onto kinks that lie behind kinks, by the directions before the first."""


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
        fewest: The fewest kinks that were wrong so far.
        patience: How many more guesses may be no better.
        fits: Whether there was room for those held before.
    """

    on: Bool[Array, "samples kinks"]
    slides: Bool[Array, "samples kinks"]
    held: Bool[Array, "samples kinks"]
    changed: Bool[Array, "samples kinks"]
    fewest: Int[Array, ""]
    patience: Int[Array, ""]
    fits: Bool[Array, ""]


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
        guess, found, count = loop
        return (count == 0) | (~found.right & guess.fits & (count < ROUNDS))

    def again(loop):
        guess, _, count = loop
        return *_tried(field, point, log_radius, dual, guess), count + 1

    most, patience = jnp.asarray(on.size + 1), jnp.asarray(PATIENCE)
    yes, no = jnp.asarray(True), jnp.asarray(False)
    guess = _Guess(on & ~slides, slides, slides, changed, most, patience, yes)
    loop = guess, Settled(field.gates, point, no), jnp.asarray(0)
    _, found, _ = jax.lax.while_loop(unfinished, again, loop)
    if not field.straight:
        return found
    gates, independent = with_normals(field, found.point, found.gates)
    return Settled(gates, found.point, found.right & independent)


def _tried(field: Field, point, log_radius, dual, guess: _Guess):
    """The next guess, and what comes of this one."""
    like, blocks = guess.on, field.blocks
    room = field.gates.slides.shape[1]
    held = min(HELD * room, like.size) if blocks.count == 1 else room
    numbers, fits = blocks.numbers(guess.held, held)
    some = numbers >= 0
    slides = some & guess.slides.ravel()[numbers]
    none = jnp.zeros_like(field.gates.normals)
    there = with_gates(field, Gates(guess.on, jnp.where(slides, numbers, -1), none))
    along, same = _apart(kink_directions(there, point, numbers), slides)
    slides = slides & ~same  # off, where one of the others is slid along
    for _ in range(1 if field.straight else ONTO):
        point = onto_kinks(there, point, numbers, along)
    unit = field.coordinates.back(point)
    log_radius = field.coordinates.beside(log_radius + jnp.log(two_norm(point)))
    margins, pullback = jax.vjp(there.margins, unit)
    whole = full_dual(there, margins, log_radius, dual)
    s, slack, strength = multipliers_along(
        there, unit, whole, numbers, along, pullback(whole)[0], slides
    )
    attracts = strength <= 0
    # What repels is crossed: both sides lead away, to that on which it moves.
    left = slides & ((s < -slack) | (s > 1 + slack) | ~attracts)
    # Those at rest on a kink need no force to stay there.
    between = slides & ~left & (s > slack) & (s < 1 - slack)
    beyond = jnp.where(attracts, s > 0.5, s < 0.5)
    on = guess.on | marked(like, numbers, slides & ~between & beyond)
    kept, fit = blocks.numbers(marked(like, numbers, between), room)
    gates, fits = Gates(on, kept, none), fits & fit
    here = with_gates(field, gates)
    wrong = wrong_gates(here, unit) & ~guess.held
    pull = blocks.split(jax.vjp(here.margins, unit)[1](whole)[0])
    speed = along.along(pull)
    speed = speed - jnp.einsum("brs,bs->br", along.gram, along.solve(speed, between))
    speed = jnp.where(on.ravel()[numbers], -speed, speed)
    noise = ROUNDED * jnp.einsum("brd,bd->br", jnp.abs(along.rows), jnp.abs(pull))
    back = some & ~between & ~left & (speed > noise)
    amiss = wrong | marked(like, numbers, left | back)
    # Kinks that depend on each other have no multipliers of their own.
    known = jnp.all(jnp.isfinite(point)) & jnp.all(jnp.isfinite(s))
    right = ~jnp.any(amiss) & fits & known
    new = _next_guess(guess, on, amiss, wrong, left, back, attracts, numbers, fits)
    return new, Settled(gates, point, right)


def _apart(
    along: Directions, slides: Bool[Array, "blocks room"]
) -> tuple[Directions, Bool[Array, "blocks room"]]:
    """Directions without those that are the same, and which those are.

    Of kinks of repeated samples, or of multiples of one, one stays; that which is slid
    along, if there is one.
    """
    order = jnp.tril(jnp.ones(along.gram.shape[1:], bool), -1)[None]
    same = jnp.abs(along.gram) > 1 - SAME
    slid, other = slides[:, None], slides[:, :, None]  # of columns, and of rows
    before = (slid & ~other) | ((slid == other) & order)
    same = jnp.any(same & before, axis=2)
    unit = np.eye(order.shape[1])[None]
    gram = jnp.where(same[:, None] | same[:, :, None], unit, along.gram)
    rows = jnp.where(same[..., None], 0.0, along.rows)
    return Directions(rows, along.sizes, gram), same


def _next_guess(
    guess: _Guess, on, amiss, wrong, left, back, attracts, numbers, fits
) -> _Guess:
    """What to try after a guess, by what was wrong with it.

    Args:
        guess: What was tried.
        on: The gates that came of it.
        amiss: The kinks that were wrong.
        wrong: Those of them on the wrong side of their gate. Of those in `numbers`
        left: the ones that are slid along and must be left,
        back: the ones that were left and are led back,
        attracts: the ones to which both sides lead.
        numbers: Of the kinks held.
        fits: Whether there was room for all.
    """
    like, count = guess.on, jnp.sum(amiss)
    better = count < guess.fewest
    alone = ~better & (guess.patience == 0)
    taken = jax.lax.cond(alone, lambda: _last(amiss), lambda: amiss)
    wrong, chosen = wrong & taken, taken.ravel()[numbers]
    left, back = left & chosen, back & chosen
    again = wrong & guess.changed
    slides = (guess.slides & ~marked(like, numbers, left)) | again
    slides = slides | marked(like, numbers, back & attracts)
    flips = (wrong & ~guess.changed) | marked(like, numbers, back & ~attracts)
    return _Guess(
        on=(on ^ flips) & ~slides,
        slides=slides,
        held=guess.held | again,
        changed=guess.changed | wrong,
        fewest=jnp.minimum(guess.fewest, count),
        patience=jnp.where(better, PATIENCE, jnp.maximum(guess.patience - 1, 0)),
        fits=fits,
    )


def kept_on(field: Field, point: Float[Array, " weights"]) -> Float[Array, " weights"]:
    """A point near the kinks that the flow slides along, brought back onto them.

    Stages leave them by what they are not solved to, and so far off what one side pulls
    drags the flow along directions that no loss resists, as those in which neurons are
    rescaled: the loss rises for as long as it rests there.
    """
    slides = field.gates.slides
    if field.straight:  # they are planes through the origin
        return projector(field, point)(point)

    def back():
        along = kink_directions(field, point, slides)
        return onto_kinks(field, point, slides, along)

    found = jax.lax.cond(jnp.any(slides >= 0), back, lambda: point)
    return jnp.where(jnp.all(jnp.isfinite(found)), found, point)


def _last(some: Bool[Array, "samples kinks"]) -> Bool[Array, "samples kinks"]:
    """Of these kinks the last, as they are numbered."""
    flat = some.ravel()
    last = flat.size - 1 - jnp.argmax(flat[::-1])
    return jnp.zeros_like(flat).at[last].set(True).reshape(some.shape)


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
    margins, jacobian = jacobian_of(field, point)
    if field.duals.linear:
        dual, total = -margins, jnp.ones(())
    else:
        known = dual > 0
        fresh = field.dual_weights(margins, log_radius, known, ~known)
        seen = seen_margins(field, margins, jacobian, log_radius)
        dual = jnp.where(known, dual, jnp.where(seen, fresh, 0.0))
        total = jnp.sum(dual)
        dual = dual / total
    return margins, dual, free_gradient(field, point, dual), total


def onto_kinks(field: Field, point, numbers, along) -> Float[Array, " weights"]:
    """The nearest point with $u = 0$ for some kinks, to first order."""
    values = jnp.append(kink_values(field, point).ravel(), 0.0)[numbers]
    return point - field.blocks.joined(along.spread(along.solve(values / along.sizes)))
