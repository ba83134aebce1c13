r"""The Gram matrix of a stage, $K = J A^{-1} J^\top$: as it is, or by its factors.

With more margins than weights its rank is that of the weights: all that is asked of it
is then done with matrices of N rows, and never is an m x m matrix formed.
"""

import abc
from collections.abc import Callable
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._types import Scalar
from ._positive import solve_positive


TALL = 2
"""From so many times as many margins as weights on the factors are cheaper, by the
count of multiplications."""

SMALL = 64
"""So many margins are never too many."""

POSITIVE = 1e-9
"""$K$ counts as positive if it is with this share of its trace added."""

REFINED = 2
"""How often what the factors solve is corrected: each time the error falls by the
rounding times the condition of the system."""


def is_tall(margins: int, weights: int) -> bool:
    """Whether $K$ is kept by its factors."""
    return margins > max(TALL * weights, SMALL)


class AbstractGram(eqx.Module):
    """What the dual weights of a stage ask of $K$."""

    @abc.abstractmethod
    def times(self, vector: Float[Array, " m"]) -> Float[Array, " m"]:
        """$K$ times a vector."""

    @abc.abstractmethod
    def resolve(self, eta: Scalar, right: Float[Array, " m"]) -> Float[Array, " m"]:
        r"""The solution of $(1 + \eta K) x = b$."""

    @abc.abstractmethod
    def without(self, column: Float[Array, " m"]):
        r"""Columns and rows whose product is $K - c\,1^\top$; `None` for rows of 1."""

    @abc.abstractmethod
    def positive(self, flat: Bool[Array, ""]) -> tuple["AbstractPositive", Scalar]:
        """The symmetric part, and a number that is finite if it is positive."""


class AbstractPositive(eqx.Module):
    """A symmetric positive semi-definite $K$."""

    @property
    @abc.abstractmethod
    def rank(self) -> int:
        """Of how many rows the matrix is that it takes to solve with it."""

    @abc.abstractmethod
    def rows(self, vectors: Float[Array, "*some m"]) -> Float[Array, "*some m"]:
        """Each of some vectors times $K$."""

    @abc.abstractmethod
    def diagonal(self) -> Float[Array, " m"]:
        """The diagonal."""

    @abc.abstractmethod
    def lifted(self, by: Scalar) -> Self:
        """With a constant added to all entries."""

    @abc.abstractmethod
    def block(self, chosen) -> Float[Array, "some some"]:
        """Some of its rows and columns."""

    @abc.abstractmethod
    def solve(self, rate: Scalar, root, right: Float[Array, "m k"]):
        r"""The solution of $(1 + \mathrm{rate}\, F^\top K F) x = b$; `root` is $F$."""


class DenseGram(AbstractGram):
    """$K$ as a matrix."""

    matrix: Float[Array, "m m"]

    def times(self, vector):
        return self.matrix @ vector

    def resolve(self, eta, right):
        unit = np.eye(right.size)
        return jnp.linalg.solve(unit + eta * self.matrix, right)

    def without(self, column):
        return self.matrix - column[:, None], None

    def positive(self, flat):
        matrix = self.matrix
        half = jnp.where(flat, matrix, (matrix + matrix.T) / 2)
        lift = POSITIVE * jnp.trace(half) / len(half)
        lifted = half + lift * np.eye(len(half))
        lower = jax.lax.cond(
            flat,
            lambda: jnp.ones(()),
            lambda: jnp.sum(jax.lax.linalg.cholesky(lifted, symmetrize_input=False)),
        )
        return DensePositive(half), lower


class DensePositive(AbstractPositive):
    """As a matrix."""

    matrix: Float[Array, "m m"]

    @property
    def rank(self):
        return len(self.matrix)

    def rows(self, vectors):
        return vectors @ self.matrix

    def diagonal(self):
        return jnp.sum(self.matrix * np.eye(len(self.matrix)), axis=0)

    def lifted(self, by):
        return DensePositive(self.matrix + by)

    def block(self, chosen):
        return self.matrix[chosen][:, chosen]

    def solve(self, rate, root, right):
        matrix = rate * root.both_sides(self.matrix) + np.eye(right.shape[0])
        return solve_positive(matrix, right)


class FactoredGram(AbstractGram):
    """$K$ by the Jacobian $J$ and $A^{-1}$, a matrix or its diagonal."""

    jacobian: Float[Array, "m weights"]
    middle: Float[Array, "weights weights"] | Float[Array, " weights"]

    def _left(self):
        return self.jacobian @ _matrix(self.middle)

    def times(self, vector):
        pulled = vector @ self.jacobian
        diagonal = self.middle.ndim == 1
        moved = self.middle * pulled if diagonal else self.middle @ pulled
        return self.jacobian @ moved

    def resolve(self, eta, right):
        return _woodbury(eta * self._left(), self.jacobian, right[:, None])[:, 0]

    def without(self, column):
        columns = jnp.concatenate([self._left(), -column[:, None]], axis=1)
        ones = jnp.ones((column.size, 1))
        return columns, jnp.concatenate([self.jacobian, ones], axis=1)

    def positive(self, flat):
        if self.middle.ndim == 1:
            root = jnp.sqrt(self.middle)[None]
            return FactoredPositive(self.jacobian * root), jnp.ones(())
        half = (self.middle + self.middle.T) / 2
        lift = POSITIVE * jnp.trace(half) / len(half)
        lifted = jnp.where(flat, half, half + lift * np.eye(len(half)))
        lower = jax.lax.linalg.cholesky(lifted, symmetrize_input=False)
        return FactoredPositive(self.jacobian @ lower), jnp.sum(lower)


class FactoredPositive(AbstractPositive):
    r"""As $V V^\top$."""

    factor: Float[Array, "m r"]

    @property
    def rank(self):
        return self.factor.shape[1]

    def rows(self, vectors):
        return (vectors @ self.factor) @ self.factor.T

    def diagonal(self):
        return jnp.sum(self.factor**2, axis=1)

    def lifted(self, by):
        column = jnp.full((len(self.factor), 1), jnp.sqrt(by))
        return FactoredPositive(jnp.concatenate([self.factor, column], axis=1))

    def block(self, chosen):
        some = self.factor[chosen]
        return some @ some.T

    def solve(self, rate, root, right):
        turned = root.transposed(self.factor)
        inner = turned.T @ turned + np.eye(turned.shape[1]) / rate

        def solved(left):
            return left - turned @ solve_positive(inner, turned.T @ left)

        def missed(found):
            return right - found - rate * (turned @ (turned.T @ found))

        return _refined(solved, missed, right)


def gram_of(
    jacobian: Float[Array, "m weights"],
    response: Float[Array, "m weights"],
    middle: Array | None,
) -> AbstractGram:
    """$K$ of a Jacobian and what answers to it; of `middle`, $A^{-1}$, for many m."""
    if is_tall(*jacobian.shape):
        assert middle is not None
        return FactoredGram(jacobian, middle)
    return DenseGram(jacobian @ response.T)


def _matrix(middle):
    return jnp.diag(middle) if middle.ndim == 1 else middle


def _woodbury(columns, rows, right):
    """The solution of (1 + columns rows^T) x = b."""
    inner = np.eye(columns.shape[1]) + rows.T @ columns

    def solved(left):
        return left - columns @ jnp.linalg.solve(inner, rows.T @ left)

    def missed(found):
        return right - found - columns @ (rows.T @ found)

    return _refined(solved, missed, right)


def _refined(solved: Callable, missed: Callable, right):
    """A solution, corrected by what it misses."""
    found = solved(right)
    for _ in range(REFINED):
        better = found + solved(missed(found))
        found = jnp.where(jnp.isfinite(better), better, found)
    return found


def solve_sum(columns, rows, right: Float[Array, "m k"]) -> Float[Array, "m k"]:
    """The solution of (1 + columns rows^T) x = b, without what `without` leaves out."""
    if rows is None:
        return jnp.linalg.solve(np.eye(len(columns)) + columns, right)
    return _woodbury(columns, rows, right)
