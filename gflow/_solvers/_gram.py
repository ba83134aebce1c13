r"""The Gram matrix of a stage, $K = J A^{-1} J^\top$: as it is, or by its factors.

With more margins than weights its rank is that of the weights: all that is asked of it
is then done with matrices of N rows, and never is an m x m matrix formed.
"""

import abc
from collections.abc import Callable

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

    @abc.abstractmethod
    def answer(self, q: Float[Array, " m"]) -> Float[Array, " weights"]:
        r"""How the point answers to dual weights, $A^{-1} J^\top q$."""

    @abc.abstractmethod
    def motion_to(self, half: "AbstractPositive", q, answer) -> Float[Array, " r"]:
        """The motion of the positive part to which the point answers so."""

    @abc.abstractmethod
    def answer_to(
        self, half: "AbstractPositive", q, motion
    ) -> Float[Array, " weights"]:
        """The same where the motion of the positive part is known with more digits."""


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
        self, rate: Scalar, lift: Scalar, root, right: Float[Array, "m k"], ahead
    ):
        r"""The solution of $(1 + \mathrm{rate}\, F F^\top (K + l)) x = b$, its motion.

        `root` is $F$; `ahead`, how far known motions are ahead of their weights, counts
        as part of what the right-hand sides move.
        """


class DenseGram(AbstractGram):
    r"""$K$ as a matrix, and the rows $A^{-1} J^\top$ that it is made of."""

    matrix: Float[Array, "m m"]
    response: Float[Array, "m weights"]

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

    def answer(self, q):
        return q @ self.response

    def motion_to(self, half, q, answer):
        del answer
        return half.motion(q)

    def answer_to(self, half, q, motion):
        del half, motion
        return self.answer(q)


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


class FactoredGram(AbstractGram):
    """$K$ by the Jacobian $J$ and $A^{-1}$, a matrix or its diagonal."""

    jacobian: Float[Array, "m weights"]
    middle: Float[Array, "weights weights"] | Float[Array, " weights"]

    def _left(self):
        return self.jacobian @ _matrix(self.middle)

    def times(self, vector):
        return self.jacobian @ self.answer(vector)

    def resolve(self, eta, right):
        return _woodbury(eta * self._left(), self.jacobian, right[:, None])[:, 0]

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

    def answer(self, q):
        return _times(self.middle, q @ self.jacobian)

    def motion_to(self, half, q, answer):
        if self.middle.ndim == 1:
            return answer / half.basis
        known = answer - self._tilt(half, q)
        return jax.lax.linalg.triangular_solve(
            half.basis, known[:, None], left_side=True, lower=True
        )[:, 0]

    def answer_to(self, half, q, motion):
        known = _times(half.basis, motion)
        return known if self.middle.ndim == 1 else known + self._tilt(half, q)

    def _tilt(self, half, q):
        """What answers to the part that is not symmetric."""
        return (self.middle - half.basis @ half.basis.T) @ (q @ self.jacobian)


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
        inner = scale * inner * scale.T
        moved = lifted.T @ right
        moved = moved.at[:-1].add(ahead)

        def solved(left):
            return scale * solve_positive(inner, scale * left)

        def missed(found):
            return moved - found - rate * (turned.T @ (turned @ found))

        found = _refined(solved, missed, moved)
        return right - rate * root(turned @ found), found[:-1]


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
