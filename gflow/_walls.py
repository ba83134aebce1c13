r"""Units that a sample holds still: slow deaths of samples.

Where a sample $i$ pulls a unit $b$ toward a maximum of its margin, as where a squared
ReLU is about to go out on it, the pull $|J_{ib}|$ falls with the way that is left,
$\delta = |J_{ib}| / |\partial^2 z_i|$, and $\delta$ falls below rounding while the
sample still has most of the weight. Then the unit is held there as by a wall: it does
not move along $J_{ib}$, and what is left out is $\delta^2$. It is no death for ever:
where the other samples pull more strongly the other way, there is no wall.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._field import Field
from ._jacobian import Jacobian, by_rows, rows_at
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

    def rows_without(
        self, rows: Float[Array, "some weights"], numbers: Int[Array, " some"]
    ) -> Float[Array, "some weights"]:
        """Rows of a Jacobian, of these numbers, without the pulls that hold."""
        if len(self.units) == 0:
            return rows

        def some():
            holds = self.samples[:, None] == numbers[None]
            held = holds.T.astype(float) @ self.units.astype(float) > 0
            return self.project(jnp.where(held, 0.0, rows))

        return jax.lax.cond(jnp.any(self.units), some, lambda: rows)


def walls_of(
    field: Field,
    point: Float[Array, " weights"],
    margins: Float[Array, " margins"],
    jacobian: Jacobian,
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
    units, sizes = field.units, _Sizes(gradient, unit, size, length)
    heavy = (dual > HEAVY) & (jnp.abs(margins) < FLAT * jnp.max(jnp.abs(margins)))

    def look(rows, numbers, dual, heavy):
        nothing = jnp.zeros((len(rows), most))
        found = jax.lax.cond(
            jnp.any(heavy),
            lambda: _nearest(field, point, sizes, most, rows, numbers, dual, heavy),
            lambda: (nothing, nothing.astype(jnp.int64)),
        )
        return found, ()

    def find():
        (scores, columns), _ = by_rows(jacobian, look, dual, heavy)
        best, index = _largest(jnp.ravel(scores), most)
        row, column = index // most, jnp.ravel(columns)[index]
        same = unit[None] == unit[column][:, None]
        here = same & (best > 0)[:, None]
        rows = rows_at(jacobian, row)
        norms = jax.vmap(lambda row: units.norms(row, unit))(rows)
        toward = rows / jnp.where(norms > 0, norms, 1.0)
        normals = _orthonormal(jnp.where(here, toward, 0.0))
        return Walls(normals, here, row)

    return jax.lax.cond(jnp.any(heavy), find, lambda: none)


class _Sizes(NamedTuple):
    """What walls are measured by: see `walls_of`."""

    gradient: Float[Array, " weights"]
    unit: Int[Array, " weights"]
    size: Float[Array, " weights"]
    length: Scalar


def _nearest(field: Field, point, by: _Sizes, most: int, rows, numbers, dual, heavy):
    """The nearest walls of each of some margins: scores, and weights of their units."""
    units, unit = field.units, by.unit
    norms = jax.vmap(lambda row: units.norms(row, unit))(rows)
    safe = jnp.where(norms > 0, norms, 1.0)
    toward = rows / safe
    bent = toward * field.curvature_each(point, toward, numbers)
    curvature = jax.vmap(lambda row: units.totals(row, unit))(bent)
    way = norms / jnp.where(curvature < 0, -curvature, jnp.inf)
    against = jax.vmap(lambda row: units.totals(row * by.gradient, unit))(toward)
    weight = jnp.broadcast_to(dual[:, None], norms.shape)
    sizes = jnp.broadcast_to(by.size, norms.shape)
    held = (norms > 0) & (curvature < 0) & (way <= NEAR * sizes)
    held = held & (by.length * weight * -curvature > STIFF)
    held = held & (against >= -1e-3 * weight * norms) & heavy[:, None]
    # One entry for each pair of a sample and a unit, at the unit's first weight.
    first = jax.ops.segment_min(jnp.arange(point.size), unit, units.count)
    here = held & (jnp.arange(point.size) == first[unit])[None]
    score = jnp.where(here, 1 / (1 + way / sizes), 0.0)
    return jax.vmap(lambda row: _largest(row, most))(score)


def _largest(score: Float[Array, " some"], most: int):
    """The largest few numbers, and their places."""

    def next_one(score, _):
        index = jnp.argmax(score)
        return score.at[index].set(0.0), (score[index], index.astype(jnp.int64))

    return jax.lax.scan(next_one, score, None, most)[1]


def _orthonormal(rows):
    """Rows made orthonormal one after the other; those that add nothing are zero."""
    basis, triangle = jnp.linalg.qr(rows.T)
    adds = jnp.abs(jnp.diagonal(triangle)) > NEW
    return jnp.where(adds[:, None], basis.T, 0.0)
