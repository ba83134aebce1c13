"""The side of each kink that a flow is on."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt8

from ._blocks import Blocks, find_blocks, whole
from ._compile import compiled
from ._gates import record


SLIDES = 16, 64
"""For how many kinks to slide along each block has room at first: so many at least and
at most. Once there are more it grows, and the loop is compiled anew."""

SHARE = 1 / 8
"""Between these bounds, for this share of its kinks."""
ROOM = 2
"""By this factor the room grows; each time the loop is compiled anew."""

FULL = 0.9
"""Where so much of it is taken, it grows: the loop tries more kinks than it keeps."""

LINEAR = 1e-9
"""How exact the sum of two kink functions must be, to be that of a sum of weights."""

TRIALS = 4
"""Draws of gates at which that is tried, after all on."""


class Gates(eqx.Module):
    """The side of each kink that a flow is on, and the kinks that it slides along.

    Attributes:
        on: Whether each kink of each sample takes its first branch, where $u > 0$.
        slides: The kinks that are slid along, $u = 0$, numbered sample by sample, block
            by block; their gates are off. -1 where there are fewer.
        normals: An orthonormal basis of their $\\nabla u$, if it does not depend on the
            weights; zeros, else and where there are fewer.
    """

    on: Bool[Array, "samples kinks"]
    slides: Int[Array, "blocks room"]
    normals: Float[Array, "blocks room most"]


def slid(gates: Gates) -> Bool[Array, "samples kinks"]:
    """Whether each kink is slid along."""
    flat = jnp.zeros(gates.on.size + 1, bool).at[gates.slides].set(True)
    return flat[:-1].reshape(gates.on.shape)


def packed(gates: Gates) -> UInt8[Array, " bytes"]:
    """Which gates are on, and then which kinks are slid along, eight to a byte."""
    return jnp.packbits(jnp.stack([gates.on, slid(gates)]))


def unpacked(
    rows: UInt8[np.ndarray, "times bytes"], shape: tuple[int, ...]
) -> Bool[np.ndarray, "2 times samples kinks"]:
    """The same from rows of bytes, for so many samples and kinks."""
    flat = np.unpackbits(rows, axis=1, count=2 * math.prod(shape))
    return np.swapaxes(flat.reshape(-1, 2, *shape), 0, 1).astype(bool)


def no_gates(samples: int, kinks: int, blocks: Blocks) -> Gates:
    """Every gate off, and room for kinks to slide along, if there are any."""
    most = samples * blocks.kinks.shape[1]
    room = min(int(np.clip(int(SHARE * most), *SLIDES)), most)
    return Gates(
        jnp.zeros((samples, kinks), bool),
        jnp.full((blocks.count, room), -1),
        jnp.zeros((blocks.count, room, blocks.columns.shape[1])),
    )


def with_slides(
    gates: Gates, blocks: Blocks, slides: Int[np.ndarray, " some"], least: int = 0
) -> Gates:
    """Gates that are slid along some kinks, and room for these; normals are zero."""
    some = np.zeros(gates.on.size, bool)
    some[slides] = True
    some = jnp.asarray(some.reshape(gates.on.shape))
    room, most = gates.slides.shape[1], gates.on.shape[0] * blocks.kinks.shape[1]
    fits = False
    while not fits and room < most:
        fits = room >= least and blocks.numbers(some, int(FULL * room))[1]
        room = room if fits else min(ROOM * room, most)
    numbers, _ = blocks.numbers(some, room)
    none = jnp.zeros((blocks.count, room, blocks.columns.shape[1]))
    return Gates(gates.on, numbers, none)


def recorded(field: PyTree, point: Float[Array, " weights"]) -> Gates:
    """The gates at a point; off where $u = 0$. None is slid along."""
    samples, kinks = field.gates.on.shape
    return eqx.tree_at(
        lambda gates: gates.on,
        no_gates(samples, kinks, field.blocks),
        compiled(_signs)(field, point),
    )


def signs(
    field: PyTree, points: Float[np.ndarray, "times weights"]
) -> Bool[np.ndarray, "times samples kinks"]:
    """Where $u > 0$, at several points."""
    return np.asarray(compiled(_many_signs)(field, jnp.asarray(points)))


def _many_signs(field: PyTree, points):
    return jax.lax.map(lambda point: _signs(field, point), points)


def _signs(field: PyTree, point):
    def one(x, y):
        margins = field.flow.sample_margins
        return record(margins, field.kinks, field.network(point), x, y)[1]

    return jax.vmap(one)(field.flow.x, field.flow.y)


def _kink_values(field: PyTree, points):
    on, flow = field.gates.on, field.flow
    each = jax.vmap(lambda point, *a: field.sample(point, *a)[1], (None, 0, 0, 0))
    return jax.vmap(lambda point: each(point, on, flow.x, flow.y))(points)


def blocks_of(field: PyTree, point) -> Blocks:
    """The blocks of a field whose kink functions are linear; else all are one."""
    sides = field.gates.on.shape
    if not field.straight:
        return whole(point.size, sides[1])

    def values(points, on):
        at = eqx.tree_at(lambda f: f.gates.on, field, on)
        return compiled(_kink_values)(at, points)

    shapes = [leaf.sizes for leaf in jax.tree.leaves(field.shapes)]
    return find_blocks(values, sides, shapes)


def is_straight(field: PyTree, point) -> bool:
    """Whether kink functions are linear in the weights, and the same at any gates.

    By trial. Of kinks that lie behind others, as in a maximum over many, they are not.
    """
    random = np.random.default_rng(0)
    one, two = random.normal(size=(2, point.size))
    scale = np.abs(np.asarray(point)) + 1e-3 * float(jnp.linalg.norm(point)) + 1e-300

    points, first = jnp.stack([one * scale, two * scale, (one + two) * scale]), None
    for trial in range(1 + TRIALS):
        # All on at first: where a gate is off, nothing is seen of what is before it.
        on = (random.random(field.gates.on.shape) < 0.5) | (trial == 0)
        on = jnp.asarray(on & (trial != 1))
        at = eqx.tree_at(lambda f: f.gates.on, field, on)
        a, b, both = compiled(_kink_values)(at, points)
        near = LINEAR * (jnp.abs(a) + jnp.abs(b))
        first = both if first is None else first
        same = (jnp.abs(both - a - b) <= near) & (jnp.abs(both - first) <= near)
        if not jnp.all(same):
            return False
    return True
