"""The side of each kink that a flow is on."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._compile import compiled
from ._gates import record


SLIDES = 16, 64, 128
"""For how many kinks to slide along there is room at first: so many at least and, in
networks with kinks behind kinks and in others, at most. Once there are more it grows
fourfold, and the loop is compiled anew."""

SHARE = 1 / 8
"""Between these bounds, for this share of all kinks."""

LINEAR = 1e-9
"""How exact the sum of two kink functions must be, to be that of a sum of weights."""

TRIALS = 4
"""Draws of gates at which that is tried."""


class Gates(eqx.Module):
    """The side of each kink that a flow is on, and the kinks that it slides along.

    Attributes:
        on: Whether each kink of each sample takes its first branch, where $u > 0$.
        slides: The kinks that are slid along, $u = 0$, numbered sample by sample; their
            gates are off. -1 where there are fewer.
        normals: An orthonormal basis of their $\\nabla u$, if it does not depend on the
            weights; zeros, else and where there are fewer.
    """

    on: Bool[Array, "samples kinks"]
    slides: Int[Array, " most"]
    normals: Float[Array, "most weights"]


def no_gates(samples: int, kinks: int, weights: int, straight: bool = True) -> Gates:
    """Every gate off, and room for kinks to slide along, if there are any."""
    least, deep, wide = SLIDES
    most = np.clip(int(SHARE * samples * kinks), least, wide if straight else deep)
    most = min(int(most), samples * kinks)
    return Gates(
        jnp.zeros((samples, kinks), bool),
        jnp.full(most, -1),
        jnp.zeros((most, weights)),
    )


def recorded(field: PyTree, point: Float[Array, " weights"]) -> Gates:
    """The gates at a point; off where $u = 0$. None is slid along."""
    return eqx.tree_at(
        lambda gates: gates.on,
        no_gates(*field.gates.on.shape, point.size, field.straight),
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


def is_straight(field: PyTree, point) -> bool:
    """Whether kink functions of a sum are their sums, by trial, at any gates."""
    random = np.random.default_rng(0)
    one, two = random.normal(size=(2, point.size))
    scale = np.abs(np.asarray(point)) + 1e-3 * float(jnp.linalg.norm(point)) + 1e-300

    points = jnp.stack([one * scale, two * scale, (one + two) * scale])
    for _ in range(TRIALS):
        on = jnp.asarray(random.random(field.gates.on.shape) < 0.5)
        at = eqx.tree_at(lambda f: f.gates.on, field, on)
        a, b, both = compiled(_kink_values)(at, points)
        if not jnp.all(jnp.abs(both - a - b) <= LINEAR * (jnp.abs(a) + jnp.abs(b))):
            return False
    return True
