r"""Symmetric positive semi-definite matrices $K = V V^\top$ of dual weights."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._types import Scalar


REFINED = 2
"""How often what the factors solve is corrected: each time the error falls by the
rounding times the condition of the system."""


LEAST_PIVOT = 1e-6
"""Of a factor of a matrix with ones on its diagonal: below, rounding decides."""


class AbstractPositive(eqx.Module):
    r"""A symmetric positive semi-definite $K = V V^\top$.

    The motion $u$ of dual weights is $V^\top q$ by factors, else $K q$: what the
    margins follow. Of many large parts that cancel it is known with more digits than
    the weights, which cannot hold their own balance.
    """

    @property
    @abc.abstractmethod
    def rank(self) -> int:
        """Of how many rows the matrix is that it takes to solve with it."""

    @property
    @abc.abstractmethod
    def holds_motion(self) -> bool:
        """Whether the motion of weights has digits that they have not."""

    @abc.abstractmethod
    def motion(self, vectors: Float[Array, "*some m"]) -> Float[Array, "*some r"]:
        """The motion of each of some weights."""

    @abc.abstractmethod
    def image(self, motions: Float[Array, "*some r"]) -> Float[Array, "*some m"]:
        """$K q$ from the motion of $q$."""

    @abc.abstractmethod
    def size(self, vector: Float[Array, " m"], motion: Float[Array, " r"]) -> Scalar:
        r"""$(q^\top K q)^{1/2}$, from $q$ and its motion."""

    @abc.abstractmethod
    def diagonal(self) -> Float[Array, " m"]:
        """The diagonal."""

    @abc.abstractmethod
    def block(self, chosen, lift: Scalar) -> "DensePositive":
        """Some of its rows and columns, with a constant added to all entries."""

    @abc.abstractmethod
    def solve(
        self,
        rate: Scalar,
        lift: Scalar | float,
        root,
        right: Float[Array, "m k"],
        ahead,
    ) -> tuple[Float[Array, "m k"], Float[Array, "r k"]]:
        r"""The solution of $(1 + \mathrm{rate}\, F F^\top (K + l)) x = b$, its motion.

        `root` is $F$; `ahead`, how far known motions are ahead of their weights, counts
        as part of what the right-hand sides move.
        """


class DensePositive(AbstractPositive):
    """As a matrix."""

    matrix: Float[Array, "m m"]

    @property
    def rank(self):
        return len(self.matrix)

    @property
    def holds_motion(self):
        return False

    def motion(self, vectors):
        return vectors @ self.matrix

    def image(self, motions):
        return motions

    def size(self, vector, motion):
        return jnp.sqrt(jnp.maximum(jnp.dot(vector, motion), 0.0))

    def diagonal(self):
        return jnp.sum(self.matrix * np.eye(len(self.matrix)), axis=0)

    def block(self, chosen, lift):
        return DensePositive(self.matrix[chosen][:, chosen] + lift)

    def solve(self, rate, lift, root, right, ahead):
        del ahead  # The motion follows from the weights.
        matrix = rate * root.both_sides(self.matrix + lift) + np.eye(right.shape[0])
        found = root(solve_positive(matrix, root.inverse(right)))
        return found, self.matrix @ found


class FactoredPositive(AbstractPositive):
    r"""As $V V^\top$ with $V = J$ `basis`."""

    factor: Float[Array, "m r"]
    basis: Float[Array, "weights r"] | Float[Array, " r"]

    @property
    def rank(self):
        return self.factor.shape[1]

    @property
    def holds_motion(self):
        return True

    def motion(self, vectors):
        return vectors @ self.factor

    def image(self, motions):
        return motions @ self.factor.T

    def size(self, vector, motion):
        del vector
        return jnp.sqrt(jnp.sum(motion**2))

    def diagonal(self):
        return jnp.sum(self.factor**2, axis=1)

    def block(self, chosen, lift):
        some = self.factor[chosen]
        return DensePositive(some @ some.T + lift)

    def solve(self, rate, lift, root, right, ahead):
        # In the unknown u: what is lost in q by cancellation is not lost in it.
        column = jnp.full((len(self.factor), 1), jnp.sqrt(lift))
        lifted = jnp.concatenate([self.factor, column], axis=1)
        turned = root.transposed(lifted)
        inner = rate * (turned.T @ turned) + np.eye(turned.shape[1])
        scale = 1 / jnp.sqrt(jnp.sum(inner * np.eye(len(inner)), axis=0))[:, None]
        lower = jax.lax.linalg.cholesky(scale * inner * scale.T, symmetrize_input=False)

        def by_rows():
            rows = jnp.concatenate([jnp.sqrt(rate) * turned, np.eye(len(inner))])
            return jnp.linalg.qr(rows * scale.T, mode="r").T

        # Its condition may be beyond the digits of a product, but not of its root.
        pivots = jnp.sum(lower * np.eye(len(inner)), axis=0)
        known = jnp.all(pivots > LEAST_PIVOT)  # not if one is NaN
        lower = jax.lax.cond(known, lambda: lower, by_rows)
        moved = lifted.T @ right
        moved = moved.at[:-1].add(ahead)

        def solved(left):
            return scale * solve_factored(lower, scale * left)

        def missed(found):
            return moved - found - rate * (turned.T @ (turned @ found))

        found = refined(solved, missed, moved)
        return right - rate * root(turned @ found), found[:-1]


def solve_positive(
    matrix: Float[Array, "n n"], right: Float[Array, "n k"]
) -> Float[Array, "n k"]:
    """The solution of a positive definite system; NaN if it is not one."""
    lower = jax.lax.linalg.cholesky(matrix, symmetrize_input=False)
    return solve_factored(lower, right)


def solve_factored(
    lower: Float[Array, "n n"], right: Float[Array, "n k"]
) -> Float[Array, "n k"]:
    """The solution of a system whose matrix is a lower factor times its transpose."""
    half = jax.lax.linalg.triangular_solve(lower, right, left_side=True, lower=True)
    return jax.lax.linalg.triangular_solve(
        lower, half, left_side=True, lower=True, transpose_a=True
    )


def refined(solved: Callable, missed: Callable, right):
    """A solution, corrected by what it misses."""
    found = solved(right)
    for _ in range(REFINED):
        better = found + solved(missed(found))
        found = jnp.where(jnp.isfinite(better), better, found)
    return found
