r"""The directions $\nabla u$ of kinks, block by block, and projections along them."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._field import Field
from ._sides import Gates


FLAT = 1e-6
"""A kink whose direction is so little of its own depends on those before."""

AT_ONCE = 32
"""So many points at which kink functions are taken at the same time."""

ROWS = 8
"""So many directions are found together: mostly they take little of the room that there
is for them."""


class Directions(eqx.Module):
    r"""Directions of norm one, or zero, and what is known of them.

    Attributes:
        rows: The directions, within each block.
        sizes: The norms of $\nabla u$; 1 where it is zero.
        gram: The inner products of rows; 1 on the diagonal of those that are zero.
    """

    rows: Float[Array, "blocks room most"]
    sizes: Float[Array, "blocks room"]
    gram: Float[Array, "blocks room room"]

    def along(self, parts: Float[Array, "blocks most"]) -> Float[Array, "blocks room"]:
        """The components of a vector."""
        return jnp.einsum("brd,bd->br", self.rows, parts)

    def spread(
        self, shares: Float[Array, "blocks room"]
    ) -> Float[Array, "blocks most"]:
        """The sum of the directions, by shares."""
        return jnp.einsum("brd,br->bd", self.rows, shares)

    def solve(
        self,
        right: Float[Array, "blocks room"],
        some: Bool[Array, "blocks room"] | None = None,
    ) -> Float[Array, "blocks room"]:
        """The shares whose sum has these components along some of the directions."""
        gram = self.gram
        if some is not None:
            both = some[:, :, None] & some[:, None]
            gram = jnp.where(both, gram, np.eye(gram.shape[-1])[None])
            right = jnp.where(some, right, 0.0)

        def solve(given):
            matrix, right = given
            return jax.scipy.linalg.cho_solve(
                (jnp.linalg.cholesky(matrix), True), right
            )

        return by_block(solve, (gram, right))


def by_block(function: Callable, blocks: PyTree) -> PyTree:
    """A function of each block, one after the other.

    Not in batches: XLA runs two batched factorizations of LAPACK at the same time, both
    of which wait for threads of the one pool that they run on, for ever.
    """
    return jax.lax.map(function, blocks)


def directions(rows: Float[Array, "blocks room most"]) -> Directions:
    """Directions from rows, some zero."""
    square = jnp.sum(rows**2, axis=-1)
    some = square > 0
    sizes = jnp.sqrt(jnp.where(some, square, 1.0))
    rows = rows / sizes[..., None]
    gram = jnp.einsum("brd,bsd->brs", rows, rows)
    eye = np.eye(rows.shape[1], dtype=bool)[None]
    return Directions(rows, sizes, gram + jnp.where(eye, ~some[..., None], 0.0))


def kink_directions(
    field: Field, point: Float[Array, " weights"], numbers: Int[Array, "blocks room"]
) -> Directions:
    r"""The directions of some kinks at a point; of -1, none.

    In one large block they are found, and multiplied, few at a time: the time is that
    of those that there are, not of the room for more. (So they have derivatives in
    forward mode only.)
    """
    room = numbers.shape[1]
    if field.blocks.count > 1 or room <= ROWS:
        return directions(block_rows(field, point, numbers))
    numbers = jnp.pad(numbers[0], (0, -room % ROWS), constant_values=-1)
    some = numbers >= 0
    last = jnp.max(jnp.where(some, jnp.arange(1, some.size + 1), 0))
    count = -(-last // ROWS)

    def cut(array, k):
        return jax.lax.dynamic_slice_in_dim(array, k * ROWS, ROWS)

    def found(k, whole):
        rows, sizes = whole
        few = directions(kink_rows(field, point, cut(numbers, k))[None])
        update = jax.lax.dynamic_update_slice_in_dim
        rows = update(rows, few.rows[0], k * ROWS, 0)
        return rows, update(sizes, few.sizes[0], k * ROWS, 0)

    def multiplied(k, gram):
        def product(other, gram):
            few = cut(rows, k) @ cut(rows, other).T
            return jax.lax.dynamic_update_slice(gram, few, (k * ROWS, other * ROWS))

        return jax.lax.fori_loop(0, k + 1, product, gram)

    rows, sizes = jnp.zeros((some.size, point.size)), jnp.ones(some.size)
    rows, sizes = jax.lax.fori_loop(0, count, found, (rows, sizes))
    gram = jnp.zeros((some.size, some.size))
    lower = jnp.tril(jax.lax.fori_loop(0, count, multiplied, gram))
    gram = lower + jnp.tril(lower, -1).T
    # Those of norm zero, and of no kink.
    gram = gram + np.eye(some.size) * (gram == 0)
    return Directions(rows[None, :room], sizes[None, :room], gram[None, :room, :room])


def kink_values(
    field: Field, point: Float[Array, " weights"]
) -> Float[Array, "samples kinks"]:
    """The function $u$ of each kink, smooth at the gates of the field."""
    each = jax.vmap(lambda *a: field.sample(point, *a)[1])
    return each(field.gates.on, field.flow.x, field.flow.y)


def one_kink(
    field: Field, point: Float[Array, " weights"], number: Int[Array, ""]
) -> Float[Array, ""]:
    """The function $u$ of one kink."""
    sample, kink = jnp.divmod(number, field.kinks.count)
    on, x, y = (a[sample] for a in (field.gates.on, field.flow.x, field.flow.y))
    return field.sample(point, on, x, y)[1][kink]


def kink_rows(
    field: Field, point: Float[Array, " weights"], numbers: Int[Array, " some"]
) -> Float[Array, "some weights"]:
    r"""$\nabla u$ of some kinks; zeros for a number of -1."""
    slope = jax.grad(one_kink, argnums=1)
    rows = jax.vmap(slope, (None, None, 0))(field, point, jnp.maximum(numbers, 0))
    return jnp.where((numbers >= 0)[:, None], rows, 0.0)


def block_rows(
    field: Field, point: Float[Array, " weights"], numbers: Int[Array, "blocks room"]
) -> Float[Array, "blocks room most"]:
    r"""$\nabla u$ of some kinks of each block, within it."""
    blocks = field.blocks
    if blocks.count == 1:
        return kink_rows(field, point, numbers[0])[None]
    # Linear functions, at points that have one weight of each block.
    table = jax.lax.map(
        lambda basis: kink_values(field, basis), blocks.bases(), batch_size=AT_ONCE
    )
    rows = table.reshape(len(table), -1)[:, jnp.maximum(numbers, 0)]
    return jnp.where((numbers >= 0)[..., None], jnp.moveaxis(rows, 0, -1), 0.0)


def with_normals(field: Field, point: Float[Array, " weights"], gates: Gates):
    """Gates with the normals of the kinks slid along; are these independent?

    By the Cholesky factor, twice: units of size 1e-50 must not see rounding of others.
    """
    at = eqx.tree_at(lambda f: f.gates, field, gates)
    rows, independent = block_rows(at, point, gates.slides), jnp.asarray(True)

    def orthogonal(given):
        gram, rows = given
        factor = jnp.linalg.cholesky(gram)
        rows = jax.scipy.linalg.solve_triangular(factor, rows, lower=True)
        return rows, jnp.min(jnp.diagonal(factor), initial=1.0) > FLAT

    for _ in range(2):
        found = directions(rows)
        rows, each = by_block(orthogonal, (found.gram, found.rows))
        independent = independent & jnp.all(each)
    return Gates(gates.on, gates.slides, rows), independent
