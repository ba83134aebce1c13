r"""Polar coordinates: the flow on the sphere, with a clock that never overflows.

With $w = e^\rho \theta$, $|\theta| = 1$, $R = e^{L\rho}$ and the clock
$\mathrm d\tau = G e^{(L-2)\rho}\,\mathrm dt$, where $G = \sum_i g_i$ and
$g_i = -\partial \mathcal L / \partial z_i$,

$$\theta' = P_\theta J(\theta)^\top q, \qquad \rho' = L \langle q, z(\theta)\rangle,
\qquad q = \mathrm{softmax}(\log g(R z(\theta))).$$

As $R \to 0$ this is the flow of the neural correlation function; as $R \to \infty$, the
ascent of the margin on the sphere.
"""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from . import _tree
from ._flow import GradientFlow, log_mean_exp
from ._types import Scalar


SCALE_CAP = 1e10
"""The largest R max|z| that the weights q see. Rounding in z is 1e-16 of it, and R
times that enters log q: with more support samples than directions 1e13 stalls and
1e10 runs (found by trial on toy problems). It moves the direction by about 1e-10."""

LOG_HUGE = 709.0
"""exp of more than this overflows: beyond, times and losses are infinite."""

PolarState = Float[Array, " weights+1"]
"""The direction, a point of the unit sphere, and last the log-radius: one vector, since
each leaf of a tree costs compile time."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape of an array, as a leaf of a tree."""

    sizes: tuple[int, ...]


class PolarField(eqx.Module):
    """The polar vector field of one network's flow.

    A `PolarState` moves by `velocity`. The field is also what the sample-space solvers
    find in Diffrax's `args`.

    Args:
        flow: Data and loss.
        network: Any network of the structure that is to move; its values are dropped.
        degree: The degree $L$ of homogeneity.
    """

    flow: GradientFlow
    degree: Scalar
    shapes: PyTree
    structure: PyTree

    def __init__(self, flow: GradientFlow, network: PyTree, degree: float):
        moving, self.structure = eqx.partition(network, eqx.is_inexact_array)
        self.shapes = jax.tree.map(lambda leaf: Shape(leaf.shape), moving)
        self.flow = flow
        self.degree = jnp.asarray(np.float64(degree))

    def network(self, directions: Float[Array, "*times weights"]) -> PyTree:
        """The network whose parameters are this vector, or a stack of them."""
        leaves, tree = jax.tree.flatten(self.shapes)
        ends = np.cumsum([math.prod(leaf.sizes) for leaf in leaves])[:-1]
        parts = directions.__array_namespace__().split(directions, ends, axis=-1)
        shaped = [
            part.reshape(*directions.shape[:-1], *leaf.sizes)
            for part, leaf in zip(parts, leaves, strict=True)
        ]
        return eqx.combine(jax.tree.unflatten(tree, shaped), self.structure)

    def margins(self, direction: Float[Array, " weights"]) -> Float[Array, " samples"]:
        """The margins $z(\\theta)$ at radius one."""
        return self.flow.margins(self.network(direction))

    def jacobian(
        self, direction: Float[Array, " weights"]
    ) -> tuple[Float[Array, " samples"], Float[Array, "samples weights"]]:
        """Margins and their derivatives, for about the cost of one gradient."""

        def margin(direction, x, y):
            return y * self.network(direction)(x)

        per_sample = jax.vmap(jax.value_and_grad(margin), in_axes=(None, 0, 0))
        return per_sample(direction, self.flow.x, self.flow.y)

    def scale(self, margins: Float[Array, " samples"], log_radius: Scalar) -> Scalar:
        """$R$, capped by `SCALE_CAP`, for margins of this size."""
        largest = jnp.max(jnp.abs(margins))
        cap = math.log(SCALE_CAP) - jnp.log(jnp.maximum(largest, 1e-290))
        return jnp.exp(jnp.minimum(self.degree * log_radius, cap))

    def weights(self, state: PolarState) -> Float[Array, " samples"]:
        """The weights $q$, a point of the simplex; past R = 1e16 without digits."""
        margins = self.margins(state[:-1])
        scale = self.scale(margins, state[-1])
        return jax.nn.softmax(self.flow.loss.log_weight(scale * margins))

    def velocity(
        self, direction: Float[Array, " weights"], weights: Float[Array, " samples"]
    ) -> tuple[PolarState, Float[Array, " samples"]]:
        r"""$(\theta', \rho')$ at given weights, and the margins, by one gradient.

        By Euler's identity $\langle \theta, J^\top q \rangle = \rho'$. Off the sphere
        the field leads back to it, at rate $2\rho'$.
        """
        margins, pullback = jax.vjp(self.margins, direction)
        (pull,) = pullback(weights)
        growth = self.degree * jnp.dot(weights, margins)
        return jnp.append(pull - growth * direction, growth), margins

    def log_pull_and_loss(
        self, margins: Float[Array, " samples"], log_radius: Scalar
    ) -> tuple[Scalar, Scalar]:
        r"""$\log G$ and $\log \mathcal L$ here, from the margins at radius one."""
        scale = jnp.exp(jnp.minimum(self.degree * log_radius, LOG_HUGE))
        margins, loss = scale * margins, self.flow.loss
        logs = jnp.stack([loss.log_weight(margins), loss.log_loss(margins)])
        log_pull, log_loss = log_mean_exp(logs)
        return log_pull, log_loss


def polar_velocity(tau: ArrayLike, state: PolarState, field: PolarField) -> PolarState:
    """The polar vector field in Diffrax's form, for `diffrax.ODETerm`."""
    del tau
    return field.velocity(state[:-1], field.weights(state))[0]


def polar_state(network: PyTree) -> PolarState:
    """The direction and log-radius of a network; safe down to norms of 1e-300."""
    leaves = jax.tree.leaves(_tree.parameters(network))
    vector = np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])
    largest = np.max(np.abs(vector))
    radius = np.linalg.norm(vector / largest)
    log_radius = np.log(radius) + np.log(largest)
    return jnp.asarray(np.append(vector / largest / radius, log_radius))
