"""A vector field on the weights of a network, as solvers and the loop see it.

A state is one vector: a point of weight space, and last a scalar that goes with it.
`PolarField` keeps the direction and the log-radius, `EuclideanField` the weights
themselves and the time of its clock.
"""

import abc
import dataclasses
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from . import _tree
from ._flow import AbstractFlow
from ._logs import log_mean_exp
from ._types import Scalar


SCALE_CAP = 1e10
"""The largest R max|z| that the weights q see (to the power of the tail of the loss).
Rounding in z is 1e-16 of it, and R times that enters log q: with more support samples
than directions 1e13 stalls and 1e10 runs (found by trial on toy problems). It moves
the direction by about 1e-10."""

LOG_HUGE = 709.0
"""exp of more than this overflows: beyond, times and losses are infinite."""

State = Float[Array, " weights+1"]
"""A point and a scalar in one vector, since each leaf of a tree costs compile time."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape of an array, as a leaf of a tree."""

    sizes: tuple[int, ...]


class Linearization(eqx.Module):
    """The margins near a point, and how the flow moves it when the weights q change.

    Attributes:
        start: A unit vector that the motion is orthogonal to, or zero.
        jacobian: The derivatives $J$ of the margins.
        moves: The motions that they cause, $J$ itself for gradients.
        along: $J$ times `start`.
        gram: $K = J P J^T$, with $P$ the projection; in general its derivative.
        speed: The factor between $P J^T q$ and the velocity.
    """

    start: Float[Array, " weights"]
    jacobian: Float[Array, "margins weights"]
    moves: Float[Array, "margins weights"]
    along: Float[Array, " margins"]
    gram: Float[Array, "margins margins"]
    speed: Scalar

    def tangent(self) -> Float[Array, "margins weights"]:
        """How the weights $q$ move the point, one row a margin: $J P$."""
        return self.moves - jnp.outer(self.along, self.start)


def linearization(
    jacobian: Float[Array, "margins weights"],
    start: Float[Array, " weights"],
    speed: Scalar | float = 1.0,
    moves: Float[Array, "margins weights"] | None = None,
) -> Linearization:
    """The linearization of a motion orthogonal to `start`, a unit vector or zero."""
    moves = jacobian if moves is None else moves
    along = jacobian @ start
    gram = jacobian @ moves.T - jnp.outer(along, along)
    return Linearization(start, jacobian, moves, along, gram, jnp.asarray(speed))


class AbstractField(eqx.Module):
    """A vector field of one network's flow under a clock.

    It is what solvers find in Diffrax's `args`. The weights $q$ of the margins are
    unknowns beside the state.
    """

    flow: eqx.AbstractVar[AbstractFlow]
    degree: eqx.AbstractVar[Scalar]
    shapes: eqx.AbstractVar[PyTree]
    structure: eqx.AbstractVar[PyTree]

    def network(self, points: Float[Array, "*times weights"]) -> PyTree:
        """The network whose parameters are this vector, or a stack of them."""
        leaves, tree = jax.tree.flatten(self.shapes)
        ends = np.cumsum([math.prod(leaf.sizes) for leaf in leaves])[:-1]
        parts = points.__array_namespace__().split(points, ends, axis=-1)
        shaped = [
            part.reshape(*points.shape[:-1], *leaf.sizes)
            for part, leaf in zip(parts, leaves, strict=True)
        ]
        return eqx.combine(jax.tree.unflatten(tree, shaped), self.structure)

    def margins(self, point: Float[Array, " weights"]) -> Float[Array, " margins"]:
        """The margins of the network at this point."""
        return self.flow.margins(self.network(point))

    def jacobian(
        self, point: Float[Array, " weights"]
    ) -> tuple[Float[Array, " margins"], Float[Array, "margins weights"]]:
        """Margins and their derivatives, for the cost of one gradient a rival."""
        return margin_jacobian(self.flow, self.network, point)

    def log_pull_and_loss(
        self, margins: Float[Array, " margins"], state: State
    ) -> tuple[Scalar, Scalar]:
        r"""$\log G$ and $\log \mathcal L$ at a state, from the margins there."""
        flow = self.flow
        largest = LOG_HUGE / max(flow.loss.tail, 1.0)
        scale = jnp.exp(jnp.minimum(self.log_magnification(state), largest))
        log_pull = log_mean_exp(flow.log_weights(scale * margins))
        log_loss = log_mean_exp(flow.log_losses(scale * margins))
        return log_pull + math.log(flow.rivals), log_loss

    @property
    @abc.abstractmethod
    def dual(self) -> str:
        """Where the weights lie: `"simplex"`, `"positive"` or `"free"`."""

    @property
    @abc.abstractmethod
    def exponent(self) -> Scalar:
        r"""Far out the loss is $\exp(-r^{\text{exponent}})$; 0 if not known."""

    @property
    @abc.abstractmethod
    def power(self) -> Scalar:
        r"""Physical time runs slower by $r$ to this power."""

    @abc.abstractmethod
    def log_magnification(self, state: State) -> Scalar:
        """The logarithm of what the margins at the point are multiplied by."""

    @abc.abstractmethod
    def weights(self, state: State) -> Float[Array, " margins"]:
        """The weights $q$ at a state."""

    @abc.abstractmethod
    def velocity(
        self, point: Float[Array, " weights"], weights: Float[Array, " margins"]
    ) -> tuple[State, Float[Array, " margins"]]:
        """The velocity at given weights, and the margins, by one gradient."""

    @abc.abstractmethod
    def scalar_rate(
        self, weights: Float[Array, " margins"], margins: Float[Array, " margins"]
    ) -> Scalar:
        """The last component of `velocity`."""

    @abc.abstractmethod
    def linearize(self, state: State, velocity: State) -> Linearization:
        """The margins near a state."""

    @property
    @abc.abstractmethod
    def bends(self) -> bool:
        """Whether the velocity is not linear in the weights $q$."""

    @abc.abstractmethod
    def bend(
        self,
        jacobian: Float[Array, "margins weights"],
        point: Float[Array, " weights"],
        weights: Float[Array, " margins"],
    ) -> Linearization:
        """The linearization at weights $q$ met on the way, with this Jacobian."""

    @abc.abstractmethod
    def damping(self, velocity: State, eta: Scalar) -> Scalar:
        """How much a stage of this length damps a defect, beside the weights."""

    @abc.abstractmethod
    def sharpness(
        self, margins: Float[Array, " margins"], state: State
    ) -> tuple[Scalar, Scalar]:
        r"""The scale $R$ and the shift $c$ in $\log q = c + \log g(R z)$."""

    @abc.abstractmethod
    def log_rate(
        self, state: State, margins: Float[Array, " margins"], log_pull: Scalar
    ) -> Scalar:
        """The logarithm of the rate of physical time, but for `power`."""

    @abc.abstractmethod
    def unit(self, state: State) -> Scalar:
        """The size that errors of the point are relative to."""

    @abc.abstractmethod
    def settle(self, state: State) -> State:
        """The state with the rounding and drift of a step removed."""

    @abc.abstractmethod
    def polar_point(self, state: State) -> State:
        """Direction and log-radius."""

    @abc.abstractmethod
    def growth_and_turning(
        self, state: State, velocity: State
    ) -> tuple[Scalar, Scalar]:
        """How fast the log-radius grows and the direction turns."""


def margin_jacobian(
    flow: AbstractFlow, network: Callable, point: Float[Array, " weights"]
) -> tuple[Float[Array, " margins"], Float[Array, "margins weights"]]:
    """Margins and their gradients at a point, `network` making networks of points."""

    def margins(point, x, y):
        return flow.sample_margins(network(point), x, y)

    def one(point, x, y):
        if flow.rivals == 1:
            z, row = jax.value_and_grad(lambda p: margins(p, x, y)[0])(point)
            return z[None], row[None]
        z, pullback = jax.vjp(lambda p: margins(p, x, y), point)
        return z, jax.vmap(pullback)(jnp.eye(flow.rivals))[0]

    z, rows = jax.vmap(one, in_axes=(None, 0, 0))(point, flow.x, flow.y)
    return jnp.ravel(z), rows.reshape(-1, point.size)


def shapes_and_structure(network: PyTree) -> tuple[PyTree, PyTree]:
    """The shapes of the parameters of a network, and all the rest of it."""
    moving, structure = _tree.partition(network)
    return jax.tree.map(lambda leaf: Shape(leaf.shape), moving), structure


def flat_parameters(network: PyTree) -> Float[np.ndarray, " weights"]:
    """The parameters of a network as one vector."""
    leaves = jax.tree.leaves(_tree.parameters(network))
    return np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])


def two_norm(vector: Float[Array, " n"]) -> Scalar:
    """The Euclidean norm, so that accuracy does not depend on the number of weights."""
    return jnp.sqrt(jnp.dot(vector, vector))


def field_velocity(tau: ArrayLike, state: State, field: AbstractField) -> State:
    """The vector field in Diffrax's form, for `diffrax.ODETerm`."""
    del tau
    return field.velocity(state[:-1], field.weights(state))[0]
