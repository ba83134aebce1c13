"""The Jacobian of the margins: a matrix, or where that is large, never formed.

Products with it are then derivative programs, whose cost is that of a gradient of all
samples; and what is asked of its entries, as sums of their squares, is added up over
samples, few at a time, whose rows are made anew. It is faster too, once the matrix is
beyond the caches of a processor.
"""

import math
from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ._field import Field
from ._rows import rows_of


TALL = 2
"""From so many times as many margins as weights on factors of the Gram matrix are
cheaper, by the count of multiplications."""

SMALL = 64
"""So many margins are never too many."""

LARGE = 2**20
"""From so many entries on a Jacobian is not formed, 8 MB: by trial on two cores."""

AT_ONCE = 2**17
"""Rows of so many entries are made at once, 1 MB: they should stay in a cache."""

COLUMNS = 2**13
"""Products of rows are added up over so many columns, 2 MB of 32 rows."""


def is_tall(margins: int, weights: int) -> bool:
    """Whether the Gram matrix is kept by its factors, of which the Jacobian is one."""
    return margins > max(TALL * weights, SMALL)


class Slopes(eqx.Module):
    """A Jacobian that is not formed.

    Attributes:
        field: The flow.
        point: Where.
    """

    field: Field
    point: Float[Array, " weights"]

    def __rmatmul__(self, dual: Float[Array, " margins"]) -> Float[Array, " weights"]:
        return self.pullback()(dual)[0]

    def pullback(self) -> Callable:
        """From dual weights to one vector, in a tuple."""
        return jax.vjp(self.field.margins, self.point)[1]

    def rows(self, samples: Int[Array, " some"]) -> Float[Array, "rows weights"]:
        """The rows of some samples."""
        field, flow = self.field, self.field.flow
        data = jax.tree.map(lambda a: a[samples], (field.gates.on, flow.x, flow.y))
        return rows_of(
            lambda p, *sample: field.sample(p, *sample)[0],
            flow.per_sample, self.point, data,
        )[1]  # fmt: skip

    def by_rows(self, fn: Callable, arrays: PyTree) -> tuple[PyTree, PyTree]:
        """As `by_rows`, a few samples at a time."""
        samples, per_sample = self.field.flow.samples, self.field.flow.per_sample
        some = _divisor(samples, AT_ONCE // (self.point.size * per_sample))

        def parts(array):
            return array.reshape(-1, some * per_sample, *array.shape[1:])

        chosen = jnp.arange(samples).reshape(-1, some)
        rest = jax.tree.map(parts, arrays)

        def one(chosen, rest):
            return fn(self.rows(chosen), _numbers(chosen, per_sample), *rest)

        shapes = jax.eval_shape(one, *jax.tree.map(lambda a: a[0], (chosen, rest)))
        zeros = jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), shapes[1])

        def step(sums, part):
            each, more = one(*part)
            return jax.tree.map(jnp.add, sums, more), each

        sums, each = jax.lax.scan(step, zeros, (chosen, rest))
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), each), sums


Jacobian = Float[Array, "margins weights"] | Slopes
"""As a matrix, or not formed."""


def by_rows(jacobian: Jacobian, fn: Callable, *arrays: PyTree) -> tuple[PyTree, PyTree]:
    """What a function makes of the rows of a Jacobian, all of them or some at a time.

    Args:
        jacobian: It.
        fn: Takes rows, their numbers, and their part of each of `arrays`; returns what
            belongs to each row, and sums over them.
        arrays: Arrays with an entry for each row.
    """
    if isinstance(jacobian, Slopes):
        return jacobian.by_rows(fn, arrays)
    return fn(jacobian, jnp.arange(len(jacobian)), *arrays)


def jacobian_of(
    field: Field, point: Float[Array, " weights"]
) -> tuple[Float[Array, " margins"], Jacobian]:
    """The margins and their derivatives, which are formed if they are few."""
    margins = field.flow.samples * field.flow.per_sample
    large = margins * point.size >= LARGE and not is_tall(margins, point.size)
    if large and field.euclidean:
        return field.margins(point), Slopes(field, point)
    return field.jacobian(point)


def _numbers(samples: Int[Array, " some"], per_sample: int) -> Int[Array, " rows"]:
    return jnp.ravel(samples[:, None] * per_sample + jnp.arange(per_sample)[None])


def _divisor(number: int, most: int) -> int:
    """The largest divisor that is at most this, or one."""
    some = range(1, max(1, min(most, math.isqrt(number))) + 1)
    found = [k for k in some if number % k == 0]
    return max(d for k in found for d in (k, number // k) if d <= max(1, most))


def _product(left, right, over) -> Float[Array, "some others"]:
    """The products of rows, some columns at a time: whole ones would be copied."""
    some = min(COLUMNS, over.size)
    count = over.size // some

    def part(start, size):
        cut = partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=size)
        return (cut(left, axis=1) / cut(over)[None]) @ cut(right, axis=1).T

    def add(k, total):
        return total + part(k * some, some)

    total = jax.lax.fori_loop(0, count, add, jnp.zeros((len(left), len(right))))
    return total + part(count * some, over.size - count * some)


def gram_by_blocks(
    slopes: Slopes, free: Callable, damping: Float[Array, " weights"], most: int
) -> Float[Array, "margins margins"]:
    r"""$V D^{-1} V^\top$ of rows $V$ made from those of a Jacobian, block by block.

    Args:
        slopes: The Jacobian.
        free: From its rows to those of $V$.
        damping: The diagonal of $D$.
        most: How many entries a block of rows may have.
    """
    samples, per_sample = slopes.field.flow.samples, slopes.field.flow.per_sample
    blocks = -(-samples * per_sample * slopes.point.size // most)
    size = -(-samples // min(blocks, samples))
    blocks = -(-samples // size)

    def block(number):
        chosen = jnp.minimum(number * size + jnp.arange(size), samples - 1)
        return free(slopes.rows(chosen))

    side = size * per_sample
    zero = jnp.zeros((blocks, side, side))

    def line(_, number):
        rows = block(number)

        def one(other, found):
            return found.at[other].set(_product(rows, block(other), damping))

        found = jax.lax.fori_loop(0, number, one, zero)
        return None, found.at[number].set(_product(rows, rows, damping))

    _, found = jax.lax.scan(line, None, jnp.arange(blocks))
    whole = found.swapaxes(1, 2).reshape(blocks * side, blocks * side)
    lower = jnp.tril(whole[: samples * per_sample, : samples * per_sample])
    return lower + jnp.tril(lower, -1).T
