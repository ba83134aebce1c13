r"""Units that a sample holds still: slow deaths of samples.

Where a sample $i$ pulls a unit $b$ toward a maximum of its margin, as where a squared
ReLU is about to go out on it, the pull $|J_{ib}|$ falls with the way that is left,
$\delta = |J_{ib}| / |\partial^2 z_i|$, and $\delta$ falls below rounding while the
sample still has most of the weight. Then the unit is held there as by a wall: it does
not move along $J_{ib}$, and what is left out is $\delta^2$. It is no death for ever:
where the other samples pull more strongly the other way, there is no wall.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._field import Field
from ._types import Scalar


WALLS = 4
"""How many there may be at once."""

NEAR = 1e-9
"""A wall is this near, against the size of the unit."""

STIFF = 1e3
"""A wall is felt on a step so much longer than the time in which the sample pulls."""

NEW = 1e-6
"""A direction that is so much of one is not in the span of those before."""

HEAVY, FLAT = 1e-3, 1e-6
"""A sample that holds a unit has this much of the weight, and a margin this small
against the largest."""


class Walls(eqx.Module):
    """What some samples hold some units by.

    Attributes:
        normals: Orthonormal directions that nothing moves along; zero rows for none.
        units: For each wall, the weights of the unit that is held.
        samples: The margins that hold them.
    """

    normals: Float[Array, "walls weights"]
    units: Bool[Array, "walls weights"]
    samples: Int[Array, " walls"]

    @property
    def held(self) -> Bool[Array, " weights"]:
        """The weights of units that are held."""
        return jnp.any(self.units, axis=0)

    def hold(self, margins: int) -> Bool[Array, " margins"]:
        """The margins that hold a unit."""
        holds = self.samples[:, None] == jnp.arange(margins)[None]
        return jnp.any(holds & jnp.any(self.units, axis=1)[:, None], axis=0)

    def project(self, vector: Float[Array, "*rows weights"]):
        """The part of a motion, or of each of several, that the walls allow."""
        return vector - (vector @ self.normals.T) @ self.normals

    def without(self, pullback: Callable, dual: Float[Array, " margins"]):
        r"""$J^\top q$ without the pulls that hold.

        Their curvature times a long step has no digits: they are left out from the
        start, and not subtracted.
        """
        (whole,) = pullback(dual)
        if len(self.units) == 0:
            return whole

        def some():
            numbers = jnp.arange(dual.size)
            holds = self.samples[:, None] == numbers[None]
            holds = holds & jnp.any(self.units, axis=1)[:, None]
            same = (self.units.astype(float) @ self.units.T.astype(float)) > 0
            gone = (same.astype(float) @ holds.astype(float)) > 0
            rest = jnp.where(gone, 0.0, jnp.broadcast_to(dual, gone.shape))
            pulls = jax.vmap(lambda q: pullback(q)[0])(rest)
            chosen = jnp.argmax(self.units, axis=0)
            own = jnp.take_along_axis(pulls, chosen[None], axis=0)[0]
            return self.project(jnp.where(self.held, own, whole))

        return jax.lax.cond(jnp.any(self.units), some, lambda: whole)

    def rows_without(self, jacobian: Float[Array, "margins weights"]):
        """A Jacobian without the pulls that hold."""
        if len(self.units) == 0:
            return jacobian

        def some():
            holds = self.samples[:, None] == np.arange(len(jacobian))[None]
            held = holds.T.astype(float) @ self.units.astype(float) > 0
            return self.project(jnp.where(held, 0.0, jacobian))

        return jax.lax.cond(jnp.any(self.units), some, lambda: jacobian)


def walls_of(
    field: Field,
    point: Float[Array, " weights"],
    margins: Float[Array, " margins"],
    jacobian: Float[Array, "margins weights"],
    dual: Float[Array, " margins"],
    gradient: Float[Array, " weights"],
    unit: Int[Array, " weights"],
    size: Float[Array, " weights"],
    length: Scalar,
) -> Walls:
    """The walls at a point, for a step of this length."""
    most = min(WALLS, point.size) if field.walled else 0
    zeros = jnp.zeros((most, point.size))
    none = Walls(zeros, zeros > 0, jnp.zeros(most, jnp.int64))
    if most == 0:
        return none
    units = field.units
    heavy = (dual > HEAVY) & (jnp.abs(margins) < FLAT * jnp.max(jnp.abs(margins)))

    def find():
        norms = jax.vmap(lambda row: units.norms(row, unit))(jacobian)
        safe = jnp.where(norms > 0, norms, 1.0)
        toward = jacobian / safe
        bent = toward * field.bend_each(point, toward)
        curvature = jax.vmap(lambda row: units.totals(row, unit))(bent)
        way = norms / jnp.where(curvature < 0, -curvature, jnp.inf)
        against = jax.vmap(lambda row: units.totals(row * gradient, unit))(toward)
        weight = jnp.broadcast_to(dual[:, None], norms.shape)
        sizes = jnp.broadcast_to(size, norms.shape)
        held = (norms > 0) & (curvature < 0) & (way <= NEAR * sizes)
        held = held & (length * weight * -curvature > STIFF)
        held = held & (against >= -1e-3 * weight * norms) & heavy[:, None]
        # One entry for each pair of a sample and a unit, at the unit's first weight.
        first = jax.ops.segment_min(jnp.arange(point.size), unit, units.count)
        here = held & (jnp.arange(point.size) == first[unit])[None]
        score = jnp.where(here, 1 / (1 + way / sizes), 0.0)

        def nearest(score, _):
            index = jnp.argmax(score)
            best, score = score[index], score.at[index].set(0.0)
            return score, (best, index)

        _, (best, index) = jax.lax.scan(nearest, jnp.ravel(score), None, most)
        row, column = index // point.size, index % point.size
        same = unit[None] == unit[column][:, None]
        here = same & (best > 0)[:, None]
        normals = _orthonormal(jnp.where(here, toward[row], 0.0))
        return Walls(normals, here, row.astype(jnp.int64))

    return jax.lax.cond(jnp.any(heavy), find, lambda: none)


def _orthonormal(rows):
    """Rows made orthonormal one after the other; those that add nothing are zero."""
    basis, triangle = jnp.linalg.qr(rows.T)
    adds = jnp.abs(jnp.diagonal(triangle)) > NEW
    return jnp.where(adds[:, None], basis.T, 0.0)
