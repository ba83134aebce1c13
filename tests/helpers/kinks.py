"""Networks with kinks that several test files share."""

import equinox as eqx
import jax
import jax.random as jr
from gflow.nn import MLP, ConvNet, DeepLinear, ResidualMLP, radius


KEY = jr.key(0)


class Twice(eqx.Module):
    """Two networks and a kink of its own, as a user writes them."""

    first: MLP
    rest: tuple

    def __call__(self, x):
        # Degree 1 in the first and 2 in the second, times r.
        return jax.nn.relu(radius(self) * self.first(x) - self.rest[0](x))


def twice():
    first, second = MLP(4, (5,), key=KEY), MLP(4, (3, 3), key=KEY)
    return Twice(first, (second, DeepLinear(4, (), key=KEY)))


# Each takes inputs of shape (4,), and how many kinks it has there.
kinked = {
    "relu": (lambda: MLP(4, (5, 6), 3, key=KEY), 11),
    "leaky": (lambda: MLP(4, (5,), leak=0.3, key=KEY), 5),
    "concave": (lambda: MLP(4, (5, 3), leak=2.0, key=KEY), 8),
    "absolute": (lambda: MLP(4, (5, 3), leak=-1.0, key=KEY), 8),
    "residual": (lambda: ResidualMLP(4, 5, 2, 3, key=KEY), 10),
    "linear skips": (lambda: ResidualMLP(4, 3, 1, skip="linear", key=KEY), 3),
    # Of a maximum of four, three; and ReLUs.
    "max-pooling": (lambda: ConvNet((2, 2), (3,), (4,), 3, key=KEY), 3 * 3 + 3 + 4),
    "averages": (lambda: ConvNet((2, 2), (3,), pool="average", key=KEY), 12),
    "pooled squares": (lambda: ConvNet((2, 2), (3,), power=2, key=KEY), 9),
    "a user's": (twice, 12),
}
# Joins that are smooth.
joined = {
    "linear": lambda: MLP(4, (5,), leak=1.0, key=KEY),
    "squares": lambda: MLP(4, (5, 3), power=2, key=KEY),
    "odd squares": lambda: MLP(4, (5,), power=2, leak=1.0, key=KEY),
    "even squares": lambda: MLP(4, (5,), power=2, leak=-1.0, key=KEY),
    "cubes": lambda: MLP(4, (5,), power=3, leak=0.1, key=KEY),
    "power 3/2": lambda: MLP(4, (5,), power=1.5, leak=0.1, key=KEY),
    "residual squares": lambda: ResidualMLP(4, 3, 2, power=2, key=KEY),
    "averaged squares": lambda: ConvNet((2, 2), (3,), power=2, pool="average", key=KEY),
}
