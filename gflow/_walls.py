r"""Walls: where a sample that is lost keeps a unit from seeing it.

A squared ReLU that comes to see a sample which it can only do worse on is pushed back,
the harder the more of the loss is that of this sample. It stays where this pull and the
push of the others are in balance, and once the sample is lost that is nearer to $u = 0$
than rounding. Then the unit does not move along $\nabla u$, as if there were a wall,
and leaves it when the others no longer push. It is kept on the side that does not see
the sample, where this pulls at nothing. As the others move the wall turns: on each step
as it did on the last.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._types import Scalar


WALLS = 8
"""How many there may be at once."""

NEW = 1e-6
"""A direction that is so much of one is not in the span of those before."""


TURN = 0.1
"""Normals turn by so much on a step at most, as far as is expected."""

POLISHED = 2
"""How often directions that turn are made orthonormal: it squares the error."""


class Walls(eqx.Module):
    r"""The walls that a point is held by.

    Attributes:
        normals: $\nabla u$ of each, of norm one, toward the side that sees its sample;
            zeros for none.
        margins: The numbers of the margins that bend there.
        basis: Orthonormal directions that nothing moves along; zeros where fewer.
        turns: How the normals turned on the last step, by its length in the clock of
            the next.
    """

    normals: Float[Array, "walls weights"]
    margins: Int[Array, " walls"]
    basis: Float[Array, "walls weights"]
    turns: Float[Array, "walls weights"]

    @property
    def some(self) -> Bool[Array, " walls"]:
        """Which of them there are."""
        return jnp.any(self.normals != 0, axis=1)

    def after(self, length: Scalar) -> Float[Array, "walls weights"]:
        """The normals after so long, if they go on turning as they did."""
        turned = length * self.turns
        turned = jnp.where(jnp.isfinite(turned), turned, 0.0)  # in a clock that ended
        most = jnp.max(jnp.abs(turned), axis=1, keepdims=True)
        turned = turned * jnp.minimum(1.0, TURN / jnp.maximum(most, TURN))
        return self.normals + turned

    def in_clock(self, slower: Scalar | float) -> "Walls":
        """The same walls in a clock that is slower by this; if zero, they stand still.

        In it a step is shorter by so much, and normals turn the faster.
        """
        return dataclasses.replace(self, turns=self.turns * slower)


def no_walls(weights: int, room: int = 0) -> Walls:
    """None, and room for so many."""
    nowhere = jnp.zeros((room, weights))
    return Walls(nowhere, jnp.zeros(room, int), nowhere, nowhere)


def with_room(weights: int) -> Walls:
    """None, and room for those that a flow may meet, which takes time to compile."""
    return no_walls(weights, min(WALLS, weights))


def without(
    basis: Float[Array, "walls weights"], vectors: Float[Array, "*rows weights"]
) -> Float[Array, "*rows weights"]:
    """The part of a motion, or of each of several, that is not along a basis."""
    if len(basis) == 0:
        return vectors
    return vectors - (vectors @ basis.T) @ basis


def orthonormal(rows: Float[Array, "some weights"]) -> Float[Array, "some weights"]:
    """Rows made orthonormal one after the other; those that add nothing are zero."""
    if len(rows) == 0:
        return rows

    def add(basis, given):
        row, number = given
        for _ in range(2):
            row = row - (row @ basis.T) @ basis
        rest = jnp.sqrt(jnp.sum(row**2))
        row = jnp.where(rest > NEW, row / jnp.maximum(rest, NEW), 0.0)
        return basis.at[number].set(row), ()

    return jax.lax.scan(add, jnp.zeros_like(rows), (rows, jnp.arange(len(rows))))[0]


def turning(turned: Float[Array, "some weights"]) -> Float[Array, "some weights"]:
    """How normals turned, without those that did by so much that they are others."""
    most = jnp.max(jnp.abs(turned), axis=1, keepdims=True)
    return jnp.where(most < TURN, turned, 0.0)


def between(
    first: Float[Array, "some weights"],
    last: Float[Array, "some weights"],
    share: Scalar,
) -> Float[Array, "some weights"]:
    """Orthonormal rows on the way from some to others that are near them."""
    rows = first + share * (last - first)
    for _ in range(POLISHED if len(rows) else 0):
        rows = 1.5 * rows - 0.5 * (rows @ rows.T) @ rows
    return rows


def solved(
    gram: Float[Array, "some some"],
    right: Float[Array, "some *columns"],
    some: Bool[Array, " some"],
) -> Float[Array, "some *columns"]:
    """The shares of some directions whose sum has these components along them."""
    matrix = jnp.where(some[:, None] & some[None], gram, jnp.eye(len(some)))
    factor = jnp.linalg.cholesky(matrix, symmetrize_input=False)
    right = jnp.where(some.reshape(-1, *[1] * (right.ndim - 1)), right, 0.0)
    return jax.scipy.linalg.cho_solve((factor, True), right)
