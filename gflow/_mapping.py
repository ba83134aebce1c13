"""A function of each row of arrays, in few programs whatever their number."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int, PyTree


FEWEST = 8
"""From so many rows on a program is for 8, 16, 32, ... of them, and looks at as many as
there are."""

BYTES = 2**24
"""Rows of more bytes are not copied; their program is for so many."""


class _KeysError(TypeError):
    """A function returns keys, for which no room can be made."""


def mapped(fn: Callable, still: PyTree, rows: PyTree) -> PyTree:
    """What a function returns at each row, stacked.

    Args:
        fn: Takes what is still, and one row.
        still: A tree of anything.
        rows: A tree of arrays of one length.

    Raises:
        ValueError: If they are not of one length.
    """
    leaves = jax.tree.leaves(rows)
    if not all(np.ndim(leaf) > 0 and hasattr(leaf, "dtype") for leaf in leaves):
        raise ValueError(
            "`arrays` must be arrays with an entry for each point of the curve, or "
            "trees of them, but hold a number."
        )
    lengths = {len(leaf) for leaf in leaves}
    if len(lengths) > 1:
        raise ValueError(
            "`arrays` must have one entry for each point of the curve, but there are "
            f"arrays of {', '.join(map(str, sorted(lengths)))} entries."
        )
    (count,) = lengths
    if count < FEWEST or not _may_be_copied(leaves, jax.tree.leaves(still)):
        return _all(fn, still, rows)
    size = 1 << (count - 1).bit_length()
    try:
        found = _some(
            fn,
            still,
            jax.tree.map(lambda a: _filled(a, size), rows),
            jnp.asarray(count),
        )
    except _KeysError:
        return _all(fn, still, rows)
    # Where it is differentiated, by what it has captured: loops of unknown length have
    # no reverse.
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(found)):
        return _all(fn, still, rows)
    return jax.tree.map(lambda leaf: _first(leaf, count), found)


def _may_be_copied(rows: list, still: list) -> bool:
    """Whether rows are few, and all that is known lies where new arrays do."""
    if any(isinstance(leaf, Tracer) for leaf in rows + still):
        return False
    if any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in rows):
        return False
    if sum(leaf.size * leaf.dtype.itemsize for leaf in rows) > BYTES:
        return False
    known = [leaf for leaf in rows + still if isinstance(leaf, jax.Array)]
    places = {device for leaf in known for device in leaf.devices()}
    return places <= jnp.zeros(()).devices()


def _filled(rows: Any, size: int) -> np.ndarray:
    """So many rows: what is missing is not looked at."""
    rows = np.asarray(rows)
    missing = np.zeros((size - len(rows), *rows.shape[1:]), rows.dtype)
    return np.concatenate([rows, missing])


def _first(leaf: Any, count: int) -> Any:
    """The first rows of an array; what is no array is the same in all."""
    if not eqx.is_array(leaf):
        return leaf
    # Without a program for this length, unless that would take two more copies of much.
    return (
        leaf[:count] if leaf.nbytes > BYTES else jnp.asarray(np.asarray(leaf)[:count])
    )


def _row_of(fn: Callable, still: PyTree):
    """The function of a row, without what is no array; and a place for that."""
    rest = []

    def one(row):
        answer = jax.tree.map(
            lambda leaf: jnp.asarray(leaf) if eqx.is_array_like(leaf) else leaf,
            fn(still, row),
        )
        found, other = eqx.partition(answer, eqx.is_array)
        rest[:] = [other]
        return found

    return one, rest


@eqx.filter_jit
def _some(fn: Callable, still: PyTree, rows: PyTree, count: Int[Array, ""]) -> PyTree:
    """The function at the first rows."""
    one, rest = _row_of(fn, still)

    @jax.jit  # to be traced once
    def at(k):
        return one(jax.tree.map(lambda leaf: leaf[k], rows))

    size, shapes = len(jax.tree.leaves(rows)[0]), jax.eval_shape(at, count)
    if any(
        jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        for leaf in jax.tree.leaves(shapes)
    ):
        raise _KeysError
    zero = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), shapes)

    def put(k, found):
        return jax.tree.map(lambda all_, new: all_.at[k].set(new), found, at(k))

    return eqx.combine(jax.lax.fori_loop(0, count, put, zero), rest[0])


@eqx.filter_jit
def _all(fn: Callable, still: PyTree, rows: PyTree) -> PyTree:
    """The function at all rows, in a program for as many."""
    one, rest = _row_of(fn, still)
    return eqx.combine(jax.lax.map(one, rows), rest[0])
