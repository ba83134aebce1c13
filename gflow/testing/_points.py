"""A network at several weights: its own and random ones."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .. import _tree
from .._plain import checked_weights


DRAWS = 3
"""How many random weights, of variance 1 / in, whatever the network holds."""

NEARBY = 0.1
"""How far weights are from its own that stand beside them."""


class Points:
    """Vectors of weights of one network, and its outputs on some samples there.

    Attributes:
        rows: Pairs of a word and a vector: "its own", "nearby" and "random".
        x: The samples.
    """

    def __init__(
        self,
        network: PyTree,
        x: Float[Array, "samples *features"],
        seed: int,
        rescaled: bool,
    ):
        weights, self.still = _tree.partition(network)
        normal = checked_weights(weights)
        own, self.unravel = ravel_pytree(weights)
        random = np.random.default_rng(seed)

        def draw(leaf):
            inputs = max(1, math.prod(leaf.shape[1:] or leaf.shape))
            return random.standard_normal(leaf.shape) / math.sqrt(inputs)

        drawn = [
            np.asarray(ravel_pytree(jax.tree.map(draw, weights))[0])
            for _ in range(DRAWS)
        ]
        own = np.asarray(own)
        if rescaled:  # its direction, at the norm of the others
            own = np.asarray(ravel_pytree(normal)[0]) * np.linalg.norm(drawn[0])
        nearby = own + NEARBY * drawn[-1]
        self.rows = [("its own", own), ("nearby", nearby)]
        self.rows += [("random", each) for each in drawn[:-1]]
        self.x = x
        self.outputs = jax.jit(self._outputs)
        self.derivative = jax.jit(
            lambda w, along: jax.jvp(self._outputs, (w,), (along,))[1]
        )

    def network(self, w: Float[Array, " weights"]) -> PyTree:
        """The network of these weights."""
        return eqx.combine(self.unravel(jnp.asarray(w)), self.still)

    def _outputs(self, w):
        return jax.vmap(self.network(w))(self.x)
