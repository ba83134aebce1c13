"""A function of each row of arrays, in one program whatever their number."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int, PyTree


FEWEST, MOST = 32, 256
"""Rows go through a program at least and at most so many at a time."""

BYTES = 2**26
"""Fewer, if these are more bytes: curves of large networks are not copied at once."""


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
    lengths = {np.shape(leaf)[0] if np.ndim(leaf) else 0 for leaf in leaves}
    if len(lengths) > 1:
        raise ValueError(
            "`arrays` must have one entry for each point of the curve, but there are "
            f"arrays of {', '.join(map(str, sorted(lengths)))} entries."
        )
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return _all(fn, still, rows)
    count, size = lengths.pop(), _at_once(leaves)
    rows = jax.tree.map(_on_host, rows)
    parts = []
    for k in range(0, max(count, 1), size):
        piece = jax.tree.map(lambda leaf, k=k: _filled(leaf[k : k + size], size), rows)
        found = _some(fn, still, piece, jnp.asarray(min(size, count - k)))
        parts.append(found)
    return jax.tree.map(lambda *found: _joined(found, count), *parts)


def _at_once(leaves: list) -> int:
    """How many rows a program is for."""
    count = len(leaves[0])
    row = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) / max(count, 1)
    size = FEWEST
    while size < min(count, MOST):
        size *= 2
    while size > 1 and size * row > BYTES:
        size //= 2
    return size


def _is_key(leaf) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _on_host(leaf: Any) -> Any:
    """NumPy's array, whose parts need no program of their own; keys are JAX's."""
    return leaf if _is_key(leaf) else np.asarray(leaf)


def _filled(part: Any, size: int) -> Any:
    """So many rows: what is missing is not looked at."""
    missing = size - len(part)
    if missing == 0:
        return part
    if _is_key(part):
        return part[jnp.minimum(np.arange(size), len(part) - 1)]
    return np.concatenate([part, np.zeros((missing, *part.shape[1:]), part.dtype)])


def _joined(found: tuple, count: int) -> Any:
    """Parts of an array as one; what is no array is the same in all."""
    if not eqx.is_array(found[0]):
        return found[0]
    parts = [np.asarray(part) for part in found]
    return jnp.asarray((np.concatenate(parts) if len(parts) > 1 else parts[0])[:count])


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

    size = len(jax.tree.leaves(rows)[0])
    zero = jax.tree.map(
        lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype),
        jax.eval_shape(at, count),
    )

    def put(k, found):
        return jax.tree.map(lambda all_, new: all_.at[k].set(new), found, at(k))

    return eqx.combine(jax.lax.fori_loop(0, count, put, zero), rest[0])


@eqx.filter_jit
def _all(fn: Callable, still: PyTree, rows: PyTree) -> PyTree:
    """The function at all rows, of arrays that are being traced."""
    one, rest = _row_of(fn, still)
    return eqx.combine(jax.lax.map(one, rows), rest[0])
