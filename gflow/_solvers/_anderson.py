r"""Anderson acceleration of a fixed-point iteration $u \mapsto g(u)$.

It removes from $g(u)$ the combination of past differences that best explains the
residual $g(u) - u$: what Krylov's method does for a linear map, with no derivative.

References:
    Walker and Ni (2011), "Anderson acceleration for fixed-point iterations".
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ._positive import solve_positive


REGULARIZATION = 1e-14
"""Added to the normal matrix of unit rows; the square root of it, 1e-7, is how far two
rows must differ to count as two."""


class History(eqx.Module):
    """The last differences of an iteration, as rows of cyclic buffers.

    A difference of residuals is scaled to norm one, and that of $g$ with it. Rows that
    are not yet used are zero, and count in the normal matrix as orthogonal.
    """

    count: Int[Array, ""]
    mapped: Float[Array, " n"]
    residual: Float[Array, " n"]
    d_mapped: Float[Array, "memory n"]
    d_residual: Float[Array, "memory n"]
    normal: Float[Array, "memory memory"]


def empty_history(memory: int, size: int) -> History:
    """The history before the first iteration."""
    vector, rows = jnp.zeros(size), jnp.zeros((memory, size))
    zero = jnp.zeros((), int)
    return History(zero, vector, vector, rows, rows, jnp.eye(memory))


def accelerate(
    history: History, mapped: Float[Array, " n"], residual: Float[Array, " n"]
) -> tuple[Float[Array, " n"], History]:
    """The next iterate, given $g(u)$ and $g(u) - u$ at the present one."""
    memory = history.normal.shape[0]
    slot = jnp.mod(history.count, memory)
    new = residual - history.residual
    square = jnp.dot(new, new)
    unit = jnp.where((history.count > 0) & (square > 0), jnp.sqrt(1 / square), 0.0)
    d_mapped = history.d_mapped.at[slot].set(unit * (mapped - history.mapped))
    d_residual = history.d_residual.at[slot].set(unit * new)
    row = d_residual @ (unit * new)
    row = jnp.where(np.arange(memory) == slot, 1.0, row)
    normal = history.normal.at[slot].set(row).at[:, slot].set(row)
    right = (d_residual @ residual)[:, None]
    mix = solve_positive(normal + REGULARIZATION * np.eye(memory), right)[:, 0]
    mix = jnp.where(jnp.isfinite(jnp.sum(mix)), mix, 0.0)
    new = History(history.count + 1, mapped, residual, d_mapped, d_residual, normal)
    return mapped - mix @ d_mapped, new
