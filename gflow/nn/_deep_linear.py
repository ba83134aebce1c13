from collections.abc import Sequence

import equinox as eqx
import jax.random as jr
from jaxtyping import ArrayLike, PRNGKeyArray

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


class DeepLinear(AbstractHomogeneous):
    r"""A product of matrices, $f(x) = W_L \cdots W_1 x$; its degree is $L$.

    Linear in $x$, not in the weights. Entries start as independent Gaussians of
    variance 1 / in.

    Args:
        in_size: The number of features of one input.
        widths: The sizes of the hidden layers; `()` for a linear model of degree 1.
        out_size: `"scalar"`, or the number of logits, at least 2.
        key: A key of `jax.random`.

    Attributes:
        weights: $W_1, \dots, W_L$, each of shape (out, in); if the output is a scalar
            $W_L$ is a vector of shape (in,).

    Raises:
        ValueError: If a size is not an int in its range.

    Example:
        `gflow.nn.DeepLinear(10, (16, 16), key=jax.random.key(0))` has degree 3.
    """

    weights: Weights

    def __init__(
        self,
        in_size: int,
        widths: Sequence[int],
        out_size: OutSize = "scalar",
        *,
        key: PRNGKeyArray,
    ):
        self.weights = gaussian_weights(in_size, widths, out_size, key)

    @classmethod
    def from_weights(cls, weights: Sequence[ArrayLike]) -> "DeepLinear":
        r"""The network of given weights, whose shapes fix its sizes.

        Args:
            weights: $W_1, \dots, W_L$, shaped as in the attribute; floats.

        Raises:
            ValueError: If the shapes do not fit together.
        """
        weights = checked_weights(weights)
        blank = eqx.filter_eval_shape(cls, *sizes(weights), key=jr.key(0))
        return eqx.tree_at(lambda network: network.weights, blank, weights)

    @property
    def degree(self):
        return float(len(self.weights))

    def units(self):
        return layer_names(self.weights)

    def __call__(self, x, *, key=None):
        del key
        require_one_input(x, self.weights)
        for weight in self.weights:
            x = weight @ x
        return x
