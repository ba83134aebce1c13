"""Blocks: parts of the weights, such that each kink depends on one of them alone.

In a two-layer network each kink is one neuron's. Directions of kinks of different
neurons are orthogonal then, and what is done with all of them is done neuron by neuron:
a thousand neurons that slide along twenty kinks each are a thousand small problems.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


ALIKE = 1e-9
"""How exactly a kink function must follow the weights of one row of an array."""

LOOKS = 64
"""So many samples, at gates at random, show which weights a kink depends on."""

PADDED = 4
"""Blocks of sizes so uneven that tables are this much larger than need be are one."""


class Blocks(eqx.Module):
    """The weights and kinks of each block.

    Attributes:
        columns: The weights of each; the number of weights where there are fewer.
        places: For each weight its place in `columns`, flat; their size for none.
        kinks: The kinks of a sample that are each one's; the number of kinks where
            there are fewer.
    """

    columns: Int[Array, "blocks most"]
    places: Int[Array, " weights"]
    kinks: Int[Array, "blocks some"]

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return self.columns.shape[0]

    def split(
        self, vectors: Float[Array, "*rows weights"]
    ) -> Float[Array, "*rows blocks most"]:
        """The parts of vectors in each block."""
        if self.count == 1:
            return vectors[..., None, :]
        return _padded(vectors, 1)[..., self.columns]

    def joined(
        self, parts: Float[Array, "*rows blocks most"]
    ) -> Float[Array, "*rows weights"]:
        """Vectors, from their parts in each block; zero elsewhere."""
        if self.count == 1:
            return parts[..., 0, :]
        flat = parts.reshape(*parts.shape[:-2], self.columns.size)
        return _padded(flat, 1)[..., self.places]

    def numbers(
        self, some: Bool[Array, "samples kinks"], room: int
    ) -> tuple[Int[Array, "blocks room"], Bool[Array, ""]]:
        """The numbers of some kinks, block by block, -1 for none; do they all fit?"""
        count = some.shape[1]
        each = _padded(some, 1)[:, self.kinks].swapaxes(0, 1)
        each = each.reshape(self.count, -1)
        # The first of them. Of numbers of this type only XLA does not sort them all.
        found, place = jax.lax.top_k(each.astype(jnp.float32), room)
        sample, kink = jnp.divmod(place, self.kinks.shape[1])
        kink = jnp.take_along_axis(self.kinks, kink, axis=1)
        numbers = jnp.where(found > 0, sample * count + kink, -1)
        return numbers, jnp.all(jnp.sum(each, axis=1) <= room)

    def bases(self) -> Float[Array, "most weights"]:
        """In each row one weight of each block is one, all others are zero."""
        eye = jnp.zeros((self.columns.shape[1], self.places.size + 1))
        rows = jnp.arange(self.columns.shape[1])[None]
        return eye.at[rows, self.columns].set(1.0)[:, :-1]


def _padded(array, most):
    return jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, most)])


def whole(weights: int, kinks: int) -> Blocks:
    """One block of all."""
    every = jnp.arange(weights)
    return Blocks(every[None], every, jnp.arange(kinks)[None])


def find_blocks(
    values: Callable,
    sides: tuple[int, int],
    shapes: list[tuple[int, ...]],
) -> Blocks:
    """Blocks, by trial, of kink functions that are linear in the weights.

    Args:
        values: The kink functions at several points, at the same gates.
        sides: The number of samples and of kinks.
        shapes: Of the arrays of weights.
    """
    samples, kinks = sides
    sizes = [int(np.prod(shape)) for shape in shapes]
    ends = np.cumsum([0, *sizes])
    random = np.random.default_rng(0)
    count = max(4, -(-LOOKS // samples))
    draws = [np.ones(sides, bool)] + [random.random(sides) < 0.5 for _ in range(count)]
    part, edges, count = np.zeros(ends[-1], int), [], 0
    for shape, start, end in zip(shapes, ends[:-1], ends[1:], strict=True):
        index, links = _rows_of(values, draws, shape, start, end, ends[-1])
        part[start:end] = count + index
        edges += [(kink, count + row) for kink, row in links]
        count += int(np.max(index)) + 1
    kink, row = np.array(edges, int).reshape(-1, 2).T
    graph = coo_matrix(
        (np.ones(len(kink)), (kink, kinks + row)), shape=(kinks + count,) * 2
    )
    _, found = connected_components(graph, directed=False)
    touched = np.unique(found[:kinks][np.isin(np.arange(kinks), kink)])
    columns = [np.flatnonzero(found[kinks + part] == k) for k in touched]
    own = [np.flatnonzero(found[:kinks] == k) for k in touched]
    untouched = np.flatnonzero(~np.isin(found[:kinks], touched))
    if len(touched) < 2:
        return whole(ends[-1], kinks)
    own[0] = np.sort(np.append(own[0], untouched))
    most, some = (max(map(len, lists)) for lists in (columns, own))
    if len(touched) * most > PADDED * ends[-1] or len(touched) * some > PADDED * kinks:
        return whole(ends[-1], kinks)
    table = _table(columns, most, ends[-1])
    places = np.full(ends[-1] + 1, table.size)
    places[table] = np.arange(table.size).reshape(table.shape)
    kinks_of = _table(own, some, kinks)
    return Blocks(*map(jnp.asarray, (table, places[:-1], kinks_of)))


def _rows_of(values, draws, shape, start, end, weights):
    """The row of each weight of an array, and which kink depends on which of them.

    Rows, if no kink depends on more than one; else columns; else the array is one row.
    """
    for index in map(np.ravel, np.indices(shape)):
        links = _links(values, draws, index, start, end, weights)
        if links is not None:
            return index, links
    index = np.zeros(end - start, int)
    links = _links(values, draws, index, start, end, weights)
    assert links is not None, "No kink depends on more than one of one row."
    return index, links


def _links(values, draws, index, start, end, weights):
    """Which kink depends on which row of an array, if on no more than one."""
    random = np.random.default_rng(1)
    plain, code = random.normal(size=end - start), random.normal(size=np.max(index) + 1)
    points = np.zeros((2, weights))
    points[:, start:end] = plain, plain * code[index]
    order = np.argsort(code)
    links = set()
    for on in draws:
        one, other = np.asarray(values(jnp.asarray(points), jnp.asarray(on)))
        most = np.max(np.abs(one), axis=0, keepdims=True)  # each kink has its own unit
        sample, kink = np.nonzero(np.abs(one) > 1e-12 * most)
        one, other = one[sample, kink], other[sample, kink]
        ratio = other / one
        near = np.clip(np.searchsorted(code[order], ratio), 1, len(code) - 1)
        near = near if len(code) > 1 else np.zeros(len(ratio), int)
        below, above = order[np.maximum(near - 1, 0)], order[near]
        closer = np.abs(code[below] - ratio) < np.abs(code[above] - ratio)
        row = np.where(closer, below, above)
        if len(code) > 1 and np.any(np.abs(other - code[row] * one) > ALIKE * abs(one)):
            return None
        links |= set(zip(kink.tolist(), row.tolist(), strict=True))
    return links


def _table(lists, most, fill):
    table = np.full((len(lists), most), fill)
    for row, some in zip(table, lists, strict=True):
        row[: len(some)] = some
    return table
