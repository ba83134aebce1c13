r"""The flow in weight space itself, under a choice of clocks.

For networks without polar coordinates, and for the square loss. With $q$ the weights of
the margins and $G$ their sum, $\dot w = G J^\top q$; the clock $s$ is one of

- `"time"`: $s = t$;
- `"log_time"`: $s = \log(1 + t)$;
- `"loss"`: $\mathrm ds = G\, \mathrm dt$, so that $w' = J^\top q$;
- `"arc_length"`: $\mathrm ds = |\mathrm dw|$, so that $w' = J^\top q / |J^\top q|$.

Under the first two, the weights $q$ carry $G \, \mathrm dt / \mathrm ds$ in them, and
are not normalized.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ._field import (
    SCALE_CAP,
    AbstractField,
    flat_parameters,
    linearization,
    shapes_and_structure,
    two_norm,
)
from ._flow import GradientFlow
from ._types import Scalar


CLOCKS = ("time", "log_time", "loss", "arc_length")


class EuclideanField(AbstractField):
    r"""The vector field of one network's flow in its weights, under a clock.

    A state holds the weights, and last $t$, $\log(1 + t)$ or nothing (zero).

    Args:
        flow: Data and loss.
        network: Any network of the structure that is to move; its values are dropped.
        clock: One of `"time"`, `"log_time"`, `"loss"`, `"arc_length"`.
        degree: The degree $L$ of homogeneity, NaN if there is none.
    """

    flow: GradientFlow
    degree: Scalar
    shapes: PyTree
    structure: PyTree
    clock: str = eqx.field(static=True)

    def __init__(
        self,
        flow: GradientFlow,
        network: PyTree,
        clock: str,
        degree: float = math.nan,
    ):
        self.shapes, self.structure = shapes_and_structure(network)
        self.flow = flow
        self.degree = jnp.asarray(np.float64(degree))
        self.clock = clock

    @property
    def dual(self):
        if self.flow.kind == "targets":
            return "free"
        return "positive" if self.timed else "simplex"

    @property
    def timed(self) -> bool:
        """Whether the clock is a function of time alone."""
        return self.clock in ("time", "log_time")

    @property
    def exponent(self):
        return jnp.zeros(())

    @property
    def power(self):
        return jnp.zeros(())

    def log_magnification(self, state):
        del state
        return jnp.zeros(())

    def sharpness(self, margins, state):
        largest = jnp.max(jnp.abs(margins))
        scale = jnp.minimum(1.0, SCALE_CAP / jnp.maximum(largest, 1e-290))
        log_time = state[-1] if self.clock == "log_time" else jnp.zeros(())
        return scale, log_time - math.log(self.flow.samples)

    def weights(self, state):
        margins = self.margins(state[:-1])
        scale, shift = self.sharpness(margins, state)
        if self.dual == "free":
            return -jnp.exp(shift) * margins
        log_weights = self.flow.log_weights(scale * margins)
        if self.dual == "simplex":
            return jax.nn.softmax(log_weights)
        return jnp.exp(shift + log_weights)

    def velocity(self, point, weights):
        margins, pullback = jax.vjp(self.margins, point)
        (pull,) = pullback(weights)
        if self.clock == "arc_length":
            pull = pull / jnp.maximum(two_norm(pull), 1e-290)
        return jnp.append(pull, self.scalar_rate(weights, margins)), margins

    def scalar_rate(self, weights, margins):
        del weights, margins
        return jnp.ones(()) if self.timed else jnp.zeros(())

    def linearize(self, state, velocity):
        _, jacobian = self.jacobian(state[:-1])
        if self.clock != "arc_length":
            return linearization(jacobian, jnp.zeros_like(state[:-1]))
        weights = self.weights(state)
        pull = two_norm(weights @ jacobian)
        return linearization(jacobian, velocity[:-1], 1 / jnp.maximum(pull, 1e-290))

    def damping(self, velocity, eta):
        del velocity, eta
        return jnp.ones(())

    def log_rate(self, state, margins, log_pull):
        if self.clock == "time":
            return jnp.zeros(())
        if self.clock == "log_time":
            return state[-1]
        if self.clock == "loss":
            return -log_pull
        weights = jax.nn.softmax(self.flow.log_weights(margins))
        _, pullback = jax.vjp(self.margins, state[:-1])
        return -log_pull - jnp.log(two_norm(pullback(weights)[0]))

    def unit(self, state):
        return two_norm(state[:-1])

    def settle(self, state):
        return state

    def polar_point(self, state):
        radius = two_norm(state[:-1])
        return jnp.append(state[:-1] / radius, jnp.log(radius))

    def growth_and_turning(self, state, velocity):
        radius = two_norm(state[:-1])
        unit = state[:-1] / radius
        along = jnp.dot(unit, velocity[:-1])
        return along / radius, two_norm(velocity[:-1] - along * unit) / radius


def euclidean_state(network: PyTree) -> jax.Array:
    """The weights of a network at time zero."""
    return jnp.asarray(np.append(flat_parameters(network), 0.0))
