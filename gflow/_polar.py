r"""Polar coordinates: the flow on the sphere, with a clock that never overflows.

With $w = e^\rho \theta$, $|\theta| = 1$, $R = e^{L\rho}$ and the clock
$\mathrm d\tau = G e^{(L-2)\rho}\,\mathrm dt$, where $G = \sum_i g_i$ and
$g_i = -\partial \mathcal L / \partial z_i$,

$$\theta' = P_\theta J(\theta)^\top q, \qquad \rho' = L \langle q, z(\theta)\rangle,
\qquad q = \mathrm{softmax}(\log g(R z(\theta))).$$

As $R \to 0$ this is the flow of the neural correlation function; as $R \to \infty$, the
ascent of the margin on the sphere.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from ._field import (
    SCALE_CAP,
    AbstractField,
    State,
    field_velocity,
    flat_parameters,
    linearization,
    shapes_and_structure,
    two_norm,
)
from ._flow import AbstractFlow
from ._types import Scalar


PolarState = State
"""The direction, a point of the unit sphere, and last the log-radius."""


class PolarField(AbstractField):
    """The polar vector field of one homogeneous network's flow.

    A `PolarState` moves by `velocity`. The field is also what the sample-space solvers
    find in Diffrax's `args`.

    Args:
        flow: Data and loss.
        network: Any network of the structure that is to move; its values are dropped.
        degree: The degree $L$ of homogeneity.
    """

    flow: AbstractFlow
    degree: Scalar
    shapes: PyTree
    structure: PyTree

    def __init__(self, flow: AbstractFlow, network: PyTree, degree: float):
        self.shapes, self.structure = shapes_and_structure(network)
        self.flow = flow
        self.degree = jnp.asarray(np.float64(degree))

    @property
    def dual(self):
        return "simplex"

    @property
    def exponent(self):
        return self.degree * self.flow.loss.tail

    @property
    def power(self):
        return self.degree - 2

    def log_magnification(self, state):
        return self.degree * state[-1]

    def scale(self, margins: Float[Array, " margins"], log_radius: Scalar) -> Scalar:
        """$R$, capped by `SCALE_CAP`, for margins of this size."""
        largest = jnp.max(jnp.abs(margins))
        cap = math.log(SCALE_CAP) / self.flow.loss.tail
        cap = cap - jnp.log(jnp.maximum(largest, 1e-290))
        return jnp.exp(jnp.minimum(self.degree * log_radius, cap))

    def sharpness(self, margins, state):
        return self.scale(margins, state[-1]), jnp.zeros(())

    def weights(self, state):
        """The weights $q$, a point of the simplex; past R = 1e16 without digits."""
        margins = self.margins(state[:-1])
        scale = self.scale(margins, state[-1])
        return jax.nn.softmax(self.flow.log_weights(scale * margins))

    def velocity(self, point, weights):
        r"""$(\theta', \rho')$ at given weights, and the margins, by one gradient.

        By Euler's identity $\langle \theta, J^\top q \rangle = \rho'$. Off the sphere
        the field leads back to it, at rate $2\rho'$.
        """
        margins, pullback = jax.vjp(self.margins, point)
        (pull,) = pullback(weights)
        growth = self.scalar_rate(weights, margins)
        return jnp.append(pull - growth * point, growth), margins

    def scalar_rate(self, weights, margins):
        return self.degree * jnp.dot(weights, margins)

    def linearize(self, state, velocity):
        del velocity
        _, jacobian = self.jacobian(state[:-1])
        return linearization(jacobian, state[:-1] / two_norm(state[:-1]))

    @property
    def bends(self):
        return False

    def bend(self, jacobian, point, weights):
        del weights
        return linearization(jacobian, point / two_norm(point))

    def damping(self, velocity, eta):
        """The curvature of the sphere."""
        return 1 + eta * jnp.maximum(velocity[-1], 0.0)

    def log_rate(self, state, margins, log_pull):
        del state, margins
        return -log_pull

    def unit(self, state):
        del state
        return jnp.ones(())

    def settle(self, state):
        """The direction brought back to norm one."""
        return state.at[:-1].divide(two_norm(state[:-1]))

    def polar_point(self, state):
        return state

    def growth_and_turning(self, state, velocity):
        del state
        return velocity[-1], two_norm(velocity[:-1])


def polar_velocity(tau: ArrayLike, state: PolarState, field: PolarField) -> PolarState:
    """The polar vector field in Diffrax's form, for `diffrax.ODETerm`."""
    return field_velocity(tau, state, field)


def polar_state(network: PyTree) -> PolarState:
    """The direction and log-radius of a network; safe down to norms of 1e-300."""
    vector = flat_parameters(network)
    largest = np.max(np.abs(vector))
    radius = np.linalg.norm(vector / largest)
    log_radius = np.log(radius) + np.log(largest)
    return jnp.asarray(np.append(vector / largest / radius, log_radius))
