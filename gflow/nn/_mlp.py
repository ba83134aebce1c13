from collections.abc import Sequence

import equinox as eqx
import jax.random as jr
from jaxtyping import ArrayLike, PRNGKeyArray

from ._activation import checked_activation, signed_power
from ._homogeneous import AbstractHomogeneous
from ._weights import (
    OutSize,
    Weights,
    checked_weights,
    gaussian_weights,
    layer_names,
    require_one_input,
    sizes,
)


class MLP(AbstractHomogeneous):
    r"""A fully connected network without biases, with a power of ReLU between layers.

    $$f(x) = W_D\, \sigma(W_{D-1} \cdots \sigma(W_1 x)), \qquad \sigma(u) =
    \begin{cases} u^p & u > 0 \\ -a\,|u|^p & u \leq 0 \end{cases}$$

    with $p$ = `power` and $a$ = `leak`: $p = 1$ is (leaky) ReLU, $p = 2$ its square.
    $a = 1$ is odd and $a = -1$ even: for $p = 2$ these are $u |u|$ and $u^2$.
    Homogeneous of degree $L = 1 + p + \dots + p^{D-1}$, and continuously
    differentiable if $p > 1$. Entries start as independent Gaussians of variance
    1 / in.

    For $p = 1$ it has a kink where $u = 0$; the derivative taken there is $a$.

    Args:
        in_size: The number of features of one input.
        widths: The sizes of the hidden layers, at least one.
        out_size: `"scalar"`, or the number of logits, at least 2.
        power: $p \geq 1$, finite; whole powers are cheaper.
        leak: $a$, any finite number; 0 is ReLU.
        key: A key of `jax.random`.

    Attributes:
        weights: $W_1, \dots, W_D$, each of shape (out, in); if the output is a scalar
            $W_D$ is a vector of shape (in,).
        power: As given, an int if whole.
        leak: As given.

    Raises:
        ValueError: If a size is not an int in its range, there is no hidden layer, or
            `power` or `leak` is out of range.

    Example:
        `gflow.nn.MLP(64, (32,), power=2, key=jax.random.key(0))` has degree 3.
    """

    weights: Weights
    power: int | float = eqx.field(static=True)
    leak: float = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        widths: Sequence[int],
        out_size: OutSize = "scalar",
        power: int | float = 1,
        leak: float = 0.0,
        *,
        key: PRNGKeyArray,
    ):
        self.power, self.leak = checked_activation(power, leak)
        self.weights = gaussian_weights(in_size, widths, out_size, key)
        if len(self.weights) == 1:
            raise ValueError(
                "`MLP` must have at least one hidden layer, but has none. "
                "For a linear model, use `gflow.nn.DeepLinear(in_size, ())`."
            )

    @classmethod
    def from_weights(
        cls,
        weights: Sequence[ArrayLike],
        power: int | float = 1,
        leak: float = 0.0,
    ) -> "MLP":
        r"""The network of given weights, whose shapes fix its sizes.

        Args:
            weights: $W_1, \dots, W_D$, shaped as in the attribute; floats.
            power: As for the class.
            leak: As for the class.

        Raises:
            ValueError: If the shapes do not fit together, or as for the class.
        """
        weights = checked_weights(weights)
        power, leak = checked_activation(power, leak)
        blank = eqx.filter_eval_shape(cls, *sizes(weights), power, leak, key=jr.key(0))
        return eqx.tree_at(lambda network: network.weights, blank, weights)

    @property
    def degree(self):
        return float(sum(self.power**layer for layer in range(len(self.weights))))

    def units(self):
        return layer_names(self.weights)

    def __call__(self, x, *, key=None):
        del key
        require_one_input(x, self.weights)
        for weight in self.weights[:-1]:
            x = signed_power(weight @ x, self.power, self.leak)
        return self.weights[-1] @ x
