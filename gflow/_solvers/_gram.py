r"""The Gram matrix of a stage, $K = J A^{-1} J^\top$: as it is, or by its factors.

With more margins than weights its rank is that of the weights: all that is asked of it
is then done with matrices of N rows, and never is an m x m matrix formed.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._jacobian import is_tall
from .._types import Scalar
from ._free import FreeSlopes
from ._positive import AbstractPositive, DensePositive, FactoredPositive, refined


POSITIVE = 1e-9
"""$K$ counts as positive if it is with this share of its trace added."""


class AbstractGram(eqx.Module):
    """What the dual weights of a stage ask of $K$."""

    @abc.abstractmethod
    def times(self, vector: Float[Array, " m"]) -> Float[Array, " m"]:
        """$K$ times a vector."""

    @abc.abstractmethod
    def resolve(self, eta: Scalar, right: Float[Array, " m"]) -> Float[Array, " m"]:
        r"""The solution of $(1 + \eta K) x = b$."""

    @abc.abstractmethod
    def without(self, column: Float[Array, " m"]) -> tuple[Array, Array | None]:
        r"""Columns and rows whose product is $K - c\,1^\top$; `None` for rows of 1."""

    @abc.abstractmethod
    def positive(self, flat: Bool[Array, ""]) -> tuple[AbstractPositive, Scalar]:
        """The symmetric part, and a number that is finite if it is positive."""

    @abc.abstractmethod
    def tilt(self, half: AbstractPositive, q) -> Float[Array, " m"]:
        """What $K$ has beside its positive part, times weights."""

    @abc.abstractmethod
    def answer(self, q: Float[Array, " m"]) -> Float[Array, " weights"]:
        r"""How the point answers to dual weights, $A^{-1} J^\top q$."""

    @abc.abstractmethod
    def motion_to(self, half: AbstractPositive, q, answer) -> Float[Array, " r"]:
        """The motion of the positive part to which the point answers so."""

    @abc.abstractmethod
    def answer_to(self, half: AbstractPositive, q, motion) -> Float[Array, " weights"]:
        """The same where the motion of the positive part is known with more digits."""


class DenseGram(AbstractGram):
    r"""$K$ as a matrix, and the rows $J A^{-\top}$ that answer to dual weights."""

    matrix: Float[Array, "m m"]
    response: Float[Array, "m weights"] | FreeSlopes

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

    def tilt(self, half, q):
        return self.times(q) - half.motion(q)

    def answer(self, q):
        return q @ self.response

    def motion_to(self, half, q, answer):
        del half, answer  # Its motion has no digits that the weights have not.
        return jnp.zeros_like(q)

    def answer_to(self, half, q, motion):
        del half, motion
        return self.answer(q)


class FactoredGram(AbstractGram):
    """$K$ by the Jacobian $J$ and $A^{-1}$, a matrix or its diagonal."""

    jacobian: Float[Array, "m weights"]
    middle: Float[Array, "weights weights"] | Float[Array, " weights"]

    def _left(self):
        return self.jacobian @ _matrix(self.middle)

    def times(self, vector):
        return self.jacobian @ self.answer(vector)

    def resolve(self, eta, right):
        return _woodbury(self._left(), self.jacobian, eta, right[:, None])[:, 0]

    def without(self, column):
        columns = jnp.concatenate([self._left(), -column[:, None]], axis=1)
        ones = jnp.ones((column.size, 1))
        return columns, jnp.concatenate([self.jacobian, ones], axis=1)

    def positive(self, flat):
        if self.middle.ndim == 1:
            root = jnp.sqrt(self.middle)
            return FactoredPositive(self.jacobian * root[None], root), jnp.ones(())
        half = (self.middle + self.middle.T) / 2
        lift = POSITIVE * jnp.trace(half) / len(half)
        lifted = jnp.where(flat, half, half + lift * np.eye(len(half)))
        lower = jax.lax.linalg.cholesky(lifted, symmetrize_input=False)
        return FactoredPositive(self.jacobian @ lower, lower), jnp.sum(lower)

    def tilt(self, half, q):
        if self.middle.ndim == 1:
            return jnp.zeros_like(q)
        return self.jacobian @ self._tilt(half, q)

    def answer(self, q):
        return _times(self.middle, q @ self.jacobian)

    def motion_to(self, half, q, answer):
        assert isinstance(half, FactoredPositive)
        if self.middle.ndim == 1:
            return answer / half.basis
        known = answer - self._tilt(half, q)
        return jax.lax.linalg.triangular_solve(
            half.basis, known[:, None], left_side=True, lower=True
        )[:, 0]

    def answer_to(self, half, q, motion):
        assert isinstance(half, FactoredPositive)
        known = _times(half.basis, motion)
        return known if self.middle.ndim == 1 else known + self._tilt(half, q)

    def _tilt(self, half, q):
        """What answers to the part that is not symmetric."""
        return (self.middle - half.basis @ half.basis.T) @ (q @ self.jacobian)


def gram_of(
    jacobian: Float[Array, "m weights"],
    response: Float[Array, "m weights"],
    middle: Array | None,
) -> AbstractGram:
    """$K$ of a Jacobian and what answers to it; of `middle`, $A^{-1}$, for many m."""
    if is_tall(*jacobian.shape):
        assert middle is not None
        return FactoredGram(jacobian, middle)
    return DenseGram(jacobian @ response.T, response)


def _matrix(middle):
    return jnp.diag(middle) if middle.ndim == 1 else middle


def _times(matrix, vector):
    """A matrix, or a diagonal, times a vector."""
    return matrix * vector if matrix.ndim == 1 else matrix @ vector


def _woodbury(columns, rows, scale, right):
    """The solution of (1 + scale columns rows^T) x = b."""
    # Apart from the scale: so the large product is made once for a stage's iterations.
    inner = np.eye(columns.shape[1]) + scale * (rows.T @ columns)

    def solved(left):
        return left - columns @ (scale * jnp.linalg.solve(inner, (left.T @ rows).T))

    def missed(found):
        return right - found - columns @ (scale * (found.T @ rows).T)

    return refined(solved, missed, right)


def solve_sum(columns, rows, right: Float[Array, "m k"]) -> Float[Array, "m k"]:
    """The solution of (1 + columns rows^T) x = b, without what `without` leaves out."""
    if rows is None:
        return jnp.linalg.solve(np.eye(len(columns)) + columns, right)
    return _woodbury(columns, rows, 1.0, right)
