r"""The flow in weight space itself, under a choice of clocks.

For networks without polar coordinates, and for the square loss. With $q$ the weights of
the margins and $G$ their sum, $\dot w = G J^\top q$; the clock $s$ is one of

- `"time"`: $s = t$;
- `"log_time"`: $s = \log(1 + t)$;
- `"loss"`: $\mathrm ds = G\, \mathrm dt$, so that $w' = J^\top q$;
- `"arc_length"`: $\mathrm ds = |\mathrm dw|$, so that $w' = J^\top q / |J^\top q|$.

Under the first two, the weights $q$ carry $G \, \mathrm dt / \mathrm ds$ in them, and
are not normalized. A flow that is steepest in another norm has $D(J^\top q)$ in place
of $J^\top q$ (see `_norms`), and that norm measures its arc length.
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
from ._flow import AbstractFlow
from ._norms import AbstractNorm, L2Norm
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

    flow: AbstractFlow
    degree: Scalar
    shapes: PyTree
    structure: PyTree
    norm: AbstractNorm
    clock: str = eqx.field(static=True)

    def __init__(
        self,
        flow: AbstractFlow,
        network: PyTree,
        clock: str,
        degree: float = math.nan,
    ):
        self.shapes, self.structure = shapes_and_structure(network)
        self.flow = flow
        self.norm = flow.norm_of(tuple(s.sizes for s in jax.tree.leaves(self.shapes)))
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

    def pull(self, point, weights):
        r"""The margins, and $J^\top q$."""
        margins, pullback = jax.vjp(self.margins, point)
        return margins, pullback(weights)[0]

    def velocity(self, point, weights):
        margins, pull = self.pull(point, weights)
        motion = self.norm.direction(pull)
        if self.clock == "arc_length":
            motion = motion / _length(pull, motion)
        return jnp.append(motion, self.scalar_rate(weights, margins)), margins

    def scalar_rate(self, weights, margins):
        del weights, margins
        return jnp.ones(()) if self.timed else jnp.zeros(())

    def linearize(self, state, velocity):
        _, jacobian = self.jacobian(state[:-1])
        if self.clock != "arc_length":
            return linearization(jacobian, jnp.zeros_like(state[:-1]))
        pull = self.weights(state) @ jacobian
        length = _length(pull, self.norm.direction(pull))
        return linearization(jacobian, velocity[:-1], 1 / length)

    @property
    def bends(self):
        return not isinstance(self.norm, L2Norm)

    def bend(self, jacobian, point, weights):
        """By a derivative of the direction $D$, whose kinks a step may cross."""
        _, pull = self.pull(point, weights)
        moves = self.norm.tangents(pull, jacobian)
        if self.clock != "arc_length":
            return linearization(jacobian, jnp.zeros_like(pull), moves=moves)
        motion = self.norm.direction(pull)
        length = _length(pull, motion)
        return linearization(jacobian, motion / length, 1 / length, moves)

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
        _, pull = self.pull(state[:-1], weights)
        return -log_pull - jnp.log(_length(pull, self.norm.direction(pull)))

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


def _length(pull, motion):
    """How long a motion is in the norm whose steepest it is."""
    return jnp.maximum(jnp.sqrt(jnp.dot(pull, motion)), 1e-290)


def euclidean_state(network: PyTree) -> jax.Array:
    """The weights of a network at time zero."""
    return jnp.asarray(np.append(flat_parameters(network), 0.0))
