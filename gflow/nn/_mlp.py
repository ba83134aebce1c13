from collections.abc import Sequence

import equinox as eqx
import jax.random as jr
from jaxtyping import ArrayLike, PRNGKeyArray

from .._tree import Fixed
from ._activation import activation, activation_width
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
from ._width import EPS, radius


class MLP(AbstractHomogeneous):
    r"""A fully connected network without biases, with a power of ReLU between layers.

    $$f(x) = W_D\, \sigma(W_{D-1} \cdots \sigma(W_1 x)), \qquad \sigma(u) =
    \begin{cases} u^p & u > 0 \\ -a\,|u|^p & u \leq 0 \end{cases}$$

    with $p$ = `power` and $a$ = `leak`: $p = 1$ is (leaky) ReLU, $p = 2$ its square.
    $a = 1$ is odd and $a = -1$ even: for $p = 2$ these are $u |u|$ and $u^2$.
    Homogeneous of degree $L = 1 + p + \dots + p^{D-1}$, and continuously
    differentiable if $p > 1$. Entries start as independent Gaussians of variance
    1 / in.

    For $p = 1$ the kink is smoothed as in `gflow.nn.leaky_relu`, in layer $k$ over the
    width `eps` $\times r^k$ with $r$ the norm of all weights. The network stays exactly
    homogeneous and is off by $O(\epsilon)$; with `eps` = 0 it is exact, and its
    derivative at $u = 0$ is $a$.

    Args:
        in_size: The number of features of one input.
        widths: The sizes of the hidden layers, at least one.
        out_size: `"scalar"`, or the number of logits, at least 2.
        power: $p \geq 1$, finite; whole powers are cheaper.
        leak: $a$, any finite number; 0 is ReLU.
        eps: The width of kinks for weights of norm one, at least 0; read only if there
            are any, $p = 1$ and $a \neq 1$. Changed by `gflow.nn.with_eps`.
        key: A key of `jax.random`.

    Attributes:
        weights: $W_1, \dots, W_D$, each of shape (out, in); if the output is a scalar
            $W_D$ is a vector of shape (in,).
        power: As given, an int if whole.
        leak: As given.
        eps: The width, no weight; `None` if there are no kinks.

    Raises:
        ValueError: If a size is not an int in its range, there is no hidden layer, or
            `power`, `leak` or `eps` is out of range.

    Example:
        `gflow.nn.MLP(64, (32,), power=2, key=jax.random.key(0))` has degree 3.
    """

    weights: Weights
    power: int | float = eqx.field(static=True)
    leak: float = eqx.field(static=True)
    eps: Fixed | None

    def __init__(
        self,
        in_size: int,
        widths: Sequence[int],
        out_size: OutSize = "scalar",
        power: int | float = 1,
        leak: float = 0.0,
        eps: ArrayLike = EPS,
        *,
        key: PRNGKeyArray,
    ):
        self.power, self.leak, self.eps = activation_width(power, leak, eps)
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
        eps: ArrayLike = EPS,
    ) -> "MLP":
        r"""The network of given weights, whose shapes fix its sizes.

        Args:
            weights: $W_1, \dots, W_D$, shaped as in the attribute; floats.
            power: As for the class.
            leak: As for the class.
            eps: As for the class.

        Raises:
            ValueError: If the shapes do not fit together, or as for the class.
        """
        weights = checked_weights(weights)
        power, leak, width = activation_width(power, leak, eps)
        blank = eqx.filter_eval_shape(cls, *sizes(weights), power, leak, key=jr.key(0))
        return eqx.tree_at(
            lambda network: (network.weights, network.eps),
            blank,
            (weights, width),
            is_leaf=lambda node: node is None,
        )

    @property
    def degree(self):
        return float(sum(self.power**layer for layer in range(len(self.weights))))

    def units(self):
        return layer_names(self.weights)

    def __call__(self, x, *, key=None):
        del key
        require_one_input(x, self.weights)
        unit = scale = 1.0 if self.eps is None else radius(self)
        for weight in self.weights[:-1]:
            x = activation(weight @ x, self.power, self.leak, scale, self.eps)
            scale = scale * unit
        return self.weights[-1] @ x
