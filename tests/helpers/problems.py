"""Networks that several test files share."""

import jax.numpy as jnp
import jax.random as jr
from gflow.nn import MLP, DeepLinear


KEY = jr.key(0)
IN_SIZE = 3

# Each network takes inputs of shape (IN_SIZE,) and states its own degree.
networks = {
    "linear, degree 1": lambda: DeepLinear(IN_SIZE, (), key=KEY),
    "linear, two layers of logits": lambda: DeepLinear(IN_SIZE, (4,), 2, key=KEY),
    "linear, three layers": lambda: DeepLinear(IN_SIZE, (4, 5), key=KEY),
    "relu": lambda: MLP(IN_SIZE, (6,), key=KEY),
    "relu, three layers of logits": lambda: MLP(IN_SIZE, (6, 5), 4, key=KEY),
    "leaky relu": lambda: MLP(IN_SIZE, (6, 5), leak=0.1, key=KEY),
    "squared relu": lambda: MLP(IN_SIZE, (6,), power=2, key=KEY),
    "square": lambda: MLP(IN_SIZE, (6, 2), power=2, leak=-1.0, key=KEY),
    "leaky cubed relu": lambda: MLP(IN_SIZE, (6,), power=3, leak=0.5, key=KEY),
    "power 3/2": lambda: MLP(IN_SIZE, (6, 5), power=1.5, leak=0.2, key=KEY),
    "irrational power": lambda: MLP(IN_SIZE, (6,), power=2**0.5, key=KEY),
    "degree 121": lambda: MLP(IN_SIZE, (4, 4, 3, 3), power=3, key=KEY),
    "given weights": lambda: MLP.from_weights(
        (jnp.array([[1.0, -2.0, 0.5], [0.3, 0.4, -0.6]]), jnp.array([1.5, -1.0]))
    ),
}
