"""How a flow goes on at a point where kinks meet: new gates, by Filippov's rule."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from .._compile import compiled
from .._directions import (
    by_block,
    kink_directions,
    kink_rows,
    kink_values,
    with_normals,
)
from .._field import Field
from .._filippov import independent, mixed_gates, pivoted_gates
from .._settled import renewed, settled
from .._sides import Gates, with_slides
from .._slides import (
    ROUNDED,
    full_dual,
    jump_rows,
    multipliers,
    projector,
    strengths,
    with_gates,
)
from ._attempt import STUCK
from ._carry import Carry


AT_LEAST = 2
"""Room for so many times the kinks in question, where guesses are tried again."""


def turn(
    field: Field,
    carry: Carry,
    numbers: Int[np.ndarray, " kinks"],
) -> Carry:
    """The same point with the gates that the flow goes on with.

    Args:
        field: The flow, at the gates so far.
        carry: Where it is.
        numbers: The kinks whose gates are to be decided: at $u = 0$, or slid along.
    """
    point, old = carry.point, np.asarray(field.gates.slides)
    apart = old[~_beside(field, numbers)]
    old, apart = old[old >= 0], apart[apart >= 0]
    here = np.setdiff1d(np.concatenate([numbers, old]).astype(int), apart)
    new, slid = np.isin(here, numbers), np.isin(here, old)
    on = np.asarray(field.gates.on).ravel().copy()
    was = on[here]
    if not field.euclidean:
        # In other norms what is steepest is no projection: kinks are only crossed.
        on[here], between = ~was, np.zeros(len(here), bool)
        speed, noise, rows = np.ones(len(here)), 0.0, np.zeros((len(here), point.size))
    elif field.straight:
        on[here] = False
        rows, strength, force = _system(field, carry, on, here)
        s = mixed_gates(rows, strength, force, was, new, slid)
        on[here], between = s == 1, (s > 0) & (s < 1)
        speed = rows @ (force + (s * strength) @ rows)
        noise = ROUNDED * np.abs(rows) @ np.abs(force)
    else:
        found = _with_room(field, carry, numbers)
        if found is not None:
            return found
        motion = _motion(field, carry, on, here)
        above = motion(was, slid)[2] > 0.5
        start = np.where(new, np.where(slid, above, ~was), was)
        now, between = pivoted_gates(motion, start, slid & ~new)
        speed, noise = motion(now, between)[0], 0.0
        on[here] = now & ~between
        rows, *_ = _system(field, carry, on, here)
    chosen = independent(rows[between])
    gates = _gates(field, on, np.append(here[between][chosen], apart))
    # Where nothing moves, as in a neuron that has just died, a kink stays at u = 0.
    held = between | (new & (np.abs(speed) <= noise))
    return _arrived(field, carry, gates, np.append(here[held], apart))


def _with_room(
    field: Field, carry: Carry, numbers: Int[np.ndarray, " kinks"]
) -> Carry | None:
    """The same by guesses, as within the loop but with more room; None if all fail."""
    gates = field.gates
    old = np.asarray(gates.slides)
    old, on = old[old >= 0], np.asarray(gates.on).copy()
    held = old
    if int(carry.status) == STUCK:  # all are at $u = 0$
        held = np.union1d(old, numbers)
    on.ravel()[np.setdiff1d(numbers, held)] ^= True
    slides = np.isin(np.arange(on.size), held).reshape(on.shape)
    least = max(AT_LEAST * (len(old) + len(numbers)), gates.slides.size)
    roomy = with_slides(gates, field.blocks, old, least)
    found = compiled(settled)(
        with_gates(field, roomy), carry.point, carry.log_radius, carry.dual,
        jnp.asarray(on), jnp.asarray(slides),
    )  # fmt: skip
    if not found.right:
        return None
    kept = np.asarray(found.gates.slides)
    on = np.asarray(found.gates.on).ravel().copy()
    gates = _gates(field, on, kept[kept >= 0])
    carry = eqx.tree_at(lambda c: c.point, carry, found.point)
    return _arrived(field, carry, gates, kept[kept >= 0])


def _arrived(field: Field, carry: Carry, gates: Gates, held) -> Carry:
    """The carry at new gates, with $u = 0$ for some kinks."""
    held = with_slides(gates, field.blocks, held).slides
    (found, length), gates = compiled(_arrival)(with_gates(field, gates), carry, held)
    return eqx.tree_at(
        lambda c: (c.gates, c.length, c.point, c.margins, c.dual, c.gradient),
        carry,
        (gates, carry.length * length, *found),
    )


def padded(rows, fill=0.0):
    """Rows up to a power of two, so that few programs are compiled."""
    size = max(8, 1 << (len(rows) - 1).bit_length())
    shape = (size - len(rows), *np.shape(rows)[1:])
    return np.concatenate([rows, np.full(shape, fill, np.asarray(rows).dtype)])


def _beside(field: Field, numbers) -> Bool[np.ndarray, " blocks"]:
    """Which blocks have some of these kinks."""
    asked = np.isin(np.asarray(field.blocks.kinks), numbers % field.kinks.count)
    return np.any(asked, axis=1)


def _gates(field: Field, on, slides) -> Gates:
    """Gates as arrays; there is room for as many slides as before, or more."""
    on = jnp.asarray(on.reshape(field.gates.on.shape))
    gates = eqx.tree_at(lambda g: g.on, field.gates, on)
    return with_slides(gates, field.blocks, slides)


def _system(field: Field, carry: Carry, on, here):
    """Filippov's problem of some kinks: rows, strengths, and the pull at gates."""
    at = with_gates(field, _gates(field, on, []))
    found = compiled(_forces)(at, carry, padded(here, -1))
    rows, strength, force = map(np.asarray, found)
    return rows[: len(here)], strength[: len(here)], force


def _motion(field: Field, carry: Carry, on, here):
    """How kinks move, as a function of their gates and of those slid along."""

    def motion(now, slides):
        gates = on.copy()
        gates[here] = now & ~slides
        at = with_gates(field, _gates(field, gates, here[slides]))
        found = compiled(_speeds)(at, carry, padded(here, -1))
        speed, strength, s, slack = map(np.asarray, found)
        multiplier, room = np.full((2, len(here)), 0.5)
        multiplier[slides], room[slides] = (a[: np.sum(slides)] for a in (s, slack))
        return speed[: len(here)], strength[: len(here)], multiplier, room

    return motion


def _forces(field: Field, carry: Carry, numbers):
    point = carry.point
    whole = full_dual(field, carry.margins, carry.log_radius, carry.dual)
    rows = kink_rows(field, point, numbers)
    s = jnp.zeros(numbers.size)
    strength = strengths(field, point, whole, numbers, s)
    return rows, strength, jax.vjp(field.margins, point)[1](whole)[0]


def _speeds(field: Field, carry: Carry, numbers):
    point = carry.point
    whole = full_dual(field, carry.margins, carry.log_radius, carry.dual)
    s, slack = multipliers(field, point, whole)
    slides = field.gates.slides
    count = max(field.kinks.count, 1)
    # The gates of those slid along are in between, for the rows of those behind them.
    mixed = jnp.pad(field.gates.on.astype(float).ravel(), (0, 1)).at[slides].set(s)
    mixed = mixed[:-1].reshape(field.gates.on.shape)
    between = eqx.tree_at(lambda f: f.gates.on, field, mixed)
    rows = kink_rows(between, point, numbers)
    s, slack = s.ravel(), slack.ravel()
    pull = jax.vjp(field.margins, point)[1](whole)[0]
    motion = projector(field, point)(pull)
    jumps = jump_rows(
        between, jnp.tile(point, (numbers.size, 1)), jnp.tile(whole, (numbers.size, 1)),
        numbers, mixed[jnp.maximum(numbers, 0) // count],
    )  # fmt: skip
    strength = jnp.sum(rows * projector(field, point)(jumps), axis=1)
    speed = rows @ motion
    # Below rounding nothing moves.
    noise = ROUNDED * (jnp.abs(rows) @ jnp.abs(pull))
    return jnp.where(jnp.abs(speed) > noise, speed, 0.0), strength, s, slack


def _arrival(field: Field, carry: Carry, held):
    """The point with u = 0 where kinks are held, what holds there, and its clock."""
    gates = field.gates
    along = kink_directions(field, carry.point, held)
    off = jnp.append(kink_values(field, carry.point).ravel(), 0.0)[held] / along.sizes
    # Of those held some may depend on others.
    shares = by_block(
        lambda given: jnp.linalg.pinv(given[0], rtol=1e-10) @ given[1],
        (along.gram, off),
    )
    point = carry.point - field.blocks.joined(along.spread(shares))
    point = field.coordinates.back(point)
    if field.straight:
        gates, _ = with_normals(field, point, gates)
    field = with_gates(field, gates)
    margins, dual, gradient, total = renewed(field, point, carry.log_radius, carry.dual)
    return ((point, margins, dual, gradient), total), gates
