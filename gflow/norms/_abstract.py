import abc

import equinox as eqx
import jax
from jaxtyping import Array, Float

from .._types import Scalar


Vector = Float[Array, " weights"]
Rows = Float[Array, "rows weights"]


class AbstractNorm(eqx.Module):
    r"""A norm of all weights of a network, in which a flow may be steepest.

    The weights are one vector $w$: the leaves of the network in the order of
    `jax.tree.leaves`, each raveled. A norm of your own is a subclass with

    1. `__call__`, $\|w\|$: a float64 scalar, positive but at zero, with
       $\|c w\| = |c| \|w\|$ and the triangle inequality;
    2. `direction`, the steepest motion
       $D(v) = \arg\max_u\ \langle v, u\rangle - \tfrac12 \|u\|^2$, which must be
       unique and Lipschitz away from zero: then $\langle v, D(v)\rangle = \|D(v)\|^2
       = \|v\|_*^2$, and $D(c v) = c D(v)$. (That of $\max_j |w_j|$ is not unique; the
       ready norms are smoothed for that.)

    Both are of jax.numpy, traced, and differentiated: an `AbstractSlopedNorm` states
    the derivative itself. `gflow.testing.check_norm` checks all of it.

    Example:
        The p-norm, $1 < p \leq 2$:

            class PNorm(gflow.norms.AbstractNorm):
                p: float

                def __call__(self, vector):
                    return jnp.sum(jnp.abs(vector) ** self.p) ** (1 / self.p)

                def direction(self, pull):
                    q = self.p / (self.p - 1)
                    size = jnp.sum(jnp.abs(pull) ** q) ** (1 / q)
                    return jnp.sign(pull) * jnp.abs(pull) ** (q - 1) * size ** (2 - q)

            flow = gflow.SteepestFlow(gflow.Logistic(), x, y, norm=PNorm(1.5))
    """

    @abc.abstractmethod
    def __call__(self, vector: Vector) -> Scalar:
        r"""The norm $\|w\|$."""

    @abc.abstractmethod
    def direction(self, pull: Vector) -> Vector:
        """The steepest motion $D(v)$."""


class AbstractSlopedNorm(AbstractNorm):
    """A norm that states the derivative of its steepest motion itself.

    For where that of JAX is slow, or NaN as at singular values that coincide.
    """

    @abc.abstractmethod
    def tangents(self, pull: Vector, rows: Rows) -> Rows:
        """The derivative of $D$ at $v$, symmetric and positive, applied to each row."""


def tangents(norm: AbstractNorm, pull: Vector, rows: Rows) -> Rows:
    """The derivative of the steepest motion, applied to each row."""
    if isinstance(norm, AbstractSlopedNorm):
        return norm.tangents(pull, rows)
    return jax.vmap(lambda row: jax.jvp(norm.direction, (pull,), (row,))[1])(rows)
