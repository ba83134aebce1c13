"""Networks with kinks that several test files share, each for any width."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from gflow.nn import EPS, MLP, ConvNet, DeepLinear, Fixed, ResidualMLP, radius, relu


KEY = jr.key(0)


class Twice(eqx.Module):
    """Two networks and a kink of its own, as a user writes them."""

    first: MLP
    rest: tuple
    eps: Fixed
    epsilon: float = 1e-3

    def __call__(self, x):
        # Degree 1 in the first and 2 in the second, times r.
        r = radius(self)
        return relu(r * self.first(x) - self.rest[0](x), r**3, self.eps.value)


def twice(eps=EPS):
    first = MLP(4, (5,), eps=eps, key=KEY)
    second = MLP(4, (3, 3), eps=eps, key=KEY)
    return Twice(first, (second, DeepLinear(4, (), key=KEY)), Fixed(jnp.asarray(eps)))


# Each takes inputs of shape (4,) and is made for a width.
kinked = {
    "relu": lambda eps: MLP(4, (5, 6), 3, eps=eps, key=KEY),
    "leaky": lambda eps: MLP(4, (5,), leak=0.3, eps=eps, key=KEY),
    "concave": lambda eps: MLP(4, (5, 3), leak=2.0, eps=eps, key=KEY),
    "absolute": lambda eps: MLP(4, (5, 3), leak=-1.0, eps=eps, key=KEY),
    "residual": lambda eps: ResidualMLP(4, 5, 2, 3, eps=eps, key=KEY),
    "max-pooling": lambda eps: ConvNet((2, 2), (3,), (4,), 3, eps=eps, key=KEY),
    "pooled squares": lambda eps: ConvNet((2, 2), (3,), power=2, eps=eps, key=KEY),
    "a user's": twice,
}
