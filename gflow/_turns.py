"""How a flow goes on at a point where kinks meet: new gates, by Filippov's rule."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from ._carry import Carry
from ._compile import compiled
from ._field import Field, two_norm
from ._filippov import independent, mixed_gates, pivoted_gates
from ._settled import renewed
from ._sides import Gates
from ._slides import (
    ROUNDED,
    full_dual,
    jump_rows,
    kink_rows,
    multipliers,
    one_kink,
    projector,
    strengths,
    with_gates,
)


ROOM = 4
"""By this factor the room for kinks to slide along grows; each time all is compiled
anew."""


FULL = 0.7
"""Where so much of it is taken, it grows: the loop tries more kinks than it keeps."""


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
    old = old[old >= 0]
    here = np.unique(np.concatenate([numbers, old]).astype(int))
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
        motion = _motion(field, carry, on, here)
        above = motion(was, slid)[2] > 0.5
        start = np.where(new, np.where(slid, above, ~was), was)
        now, between = pivoted_gates(motion, start, slid & ~new)
        speed, noise = motion(now, between)[0], 0.0
        on[here] = now & ~between
        rows, *_ = _system(field, carry, on, here)
    chosen, basis = independent(rows[between])
    gates = _gates(field, on, here[between][chosen], basis)
    # Where nothing moves, as in a neuron that has just died, a kink stays at u = 0.
    held = between | (new & (np.abs(speed) <= noise))
    numbers = padded(here[held], -1)
    found, length = compiled(_arrival)(with_gates(field, gates), carry, numbers)
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


def _gates(field: Field, on, slides, basis=None) -> Gates:
    """Gates as arrays; there is room for as many slides as before, or more."""
    most = field.gates.slides.size
    while len(slides) > FULL * most:
        most *= ROOM
    numbers = np.full(most, -1)
    numbers[: len(slides)] = slides
    normals = np.zeros((most, field.gates.normals.shape[1]))
    if field.straight and basis is not None:
        normals[: len(basis)] = basis
    return Gates(
        jnp.asarray(on.reshape(field.gates.on.shape)),
        jnp.asarray(numbers),
        jnp.asarray(normals),
    )


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
    rows = kink_rows(field, carry.point, held)
    sizes = jnp.sqrt(jnp.sum(rows**2, axis=1))
    safe = jnp.where(sizes > 0, sizes, 1.0)
    each = jax.vmap(one_kink, (None, None, 0))
    off = each(field, carry.point, jnp.maximum(held, 0))
    off, rows = jnp.where(held >= 0, off, 0.0) / safe, rows / safe[:, None]
    point = carry.point - rows.T @ (jnp.linalg.pinv(rows @ rows.T, rtol=1e-10) @ off)
    if field.polar:
        point = point / two_norm(point)
    margins, dual, gradient, total = renewed(field, point, carry.log_radius, carry.dual)
    return (point, margins, dual, gradient), total
