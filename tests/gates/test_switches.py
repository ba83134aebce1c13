"""Networks of pieces are told from smooth ones by what JAX traces."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gflow._switches import switches


X = np.ones(4)


class Scanned(eqx.Module):
    """Layers in a scan; whether one has a ReLU is seen inside of it."""

    weights: jax.Array
    pieces: bool

    def __call__(self, x):
        def layer(u, w):
            u = w @ u
            return (jax.nn.relu(u) if self.pieces else u), None

        return jnp.sum(jax.lax.scan(layer, x, self.weights)[0])


@pytest.mark.parametrize(
    ("network", "pieces"),
    [
        (gflow.nn.DeepLinear(4, (3,), key=jr.key(0)), False),
        (gflow.nn.MLP(4, (3,), power=2, key=jr.key(0)), True),
        (eqx.nn.MLP(4, 1, 8, 2, activation=jnp.tanh, key=jr.key(0)), False),
        (eqx.nn.MLP(4, 1, 8, 2, key=jr.key(0)), True),
        (Scanned(jnp.ones((2, 4, 4)), False), False),
        (Scanned(jnp.ones((2, 4, 4)), True), True),
    ],
)
def test_pieces_are_found_wherever_they_are(network, pieces):
    assert switches(network, jnp.asarray(X)) == pieces
