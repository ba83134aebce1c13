"""Networks that are smooth and not homogeneous: with biases, or bent activations."""

from collections.abc import Callable, Sequence
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._weights import (
    OutSize,
    Weights,
    dense_shapes,
    draw,
    layer_names,
    require_one_input,
)


Biases = tuple[Float[Array, "..."], ...]
Name = Literal["softplus", "silu", "gelu", "tanh", "leaky_silu"]


def leaky_silu(u: Float[Array, "*shape"], leak: float = 0.2) -> Float[Array, "*shape"]:
    r"""$a\,u + (1 - a) \operatorname{SiLU}(u)$ with $a$ = `leak`: a smooth leaky ReLU.

    Args:
        u: Where; any shape.
        leak: The slope $a$ far to the left; far to the right it is 1.

    Returns:
        An array shaped as `u`.

    Example:
        `gflow.nn.SmoothMLP(4, (6,), activation="leaky_silu", bias=False, key=key)`
    """
    return leak * u + (1 - leak) * jax.nn.silu(u)


def gelu(u: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """GELU itself, by the error function: not the usual approximation by tanh."""
    return jax.nn.gelu(u, approximate=False)


ACTIVATIONS: dict[str, Callable] = {
    "softplus": jax.nn.softplus,
    "silu": jax.nn.silu,
    "gelu": gelu,
    "tanh": jnp.tanh,
    "leaky_silu": leaky_silu,
}


class SmoothMLP(eqx.Module):
    r"""A fully connected network with a smooth activation and, if wanted, biases.

    $$f(x) = W_D\, \varphi(\cdots \varphi(W_1 x + b_1) \cdots) + b_D$$

    It has no degree. Without biases and with an activation near ReLU, $|z
    \varphi'(z) - \varphi(z)|$ bounded, two layers are near-homogeneous of degree 2.
    Weights start as independent Gaussians of variance 1 / in, biases at zero.

    Args:
        in_size: The number of features of one input.
        widths: The sizes of the hidden layers, at least one.
        out_size: `"scalar"`, or the number of logits, at least 2.
        activation: A name, "softplus", "silu", "gelu" (exact), "tanh" or "leaky_silu"
            (of leak 0.2), or a function that acts on every entry.
        bias: Whether there are biases, also in the last layer.
        key: A key of `jax.random`.

    Attributes:
        weights: $W_1, \dots, W_D$, shaped as in `MLP`.
        biases: $b_1, \dots, b_D$, or `None`.
        activation: The function.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `gflow.nn.SmoothMLP(64, (32,), 10, "gelu", key=jax.random.key(0))`

    References:
        Cai, Zhou, Wu, Mei, Lindsey and Bartlett (2025), arXiv:2502.16075: networks
        that are near-homogeneous.
    """

    weights: Weights
    biases: Biases | None
    activation: Callable = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        widths: Sequence[int],
        out_size: OutSize = "scalar",
        activation: Name | Callable = "gelu",
        bias: bool = True,
        *,
        key: PRNGKeyArray,
    ):
        self.activation = _checked_activation(activation)
        shapes = _checked_shapes(in_size, widths, out_size)
        self.weights = draw(key, shapes)
        self.biases = _zeros(shapes) if bias else None

    def units(self) -> tuple[tuple[str | None, ...], ...]:
        """The hidden units of each array; see `AbstractHomogeneous.units`."""
        names = layer_names(self.weights)
        if self.biases is None:
            return names
        return (*names, *(axes[:-1] for axes in names))

    def __call__(
        self, x: Float[Array, " in"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "*classes"]:
        del key
        require_one_input(x, self.weights)
        *hidden, last = _layers(self.weights, self.biases)
        for weight, bias in hidden:
            x = self.activation(weight @ x + bias)
        return last[0] @ x + last[1]


class DenseNet(eqx.Module):
    r"""A small network of dense connections: each layer sees all earlier ones.

    $$h_0 = x, \qquad h_k = (h_{k-1}, \varphi(W_k h_{k-1} + b_k)), \qquad
      f(x) = W_D h_{D-1} + b_D$$

    where the pair is a concatenation. It adds terms of many degrees, and so has none,
    whatever the activation. Weights start as independent Gaussians of variance 1 / in,
    biases at zero.

    Args:
        in_size: The number of features of one input.
        widths: How many features each hidden layer adds, at least one layer.
        out_size: As in `SmoothMLP`.
        activation: As in `SmoothMLP`.
        bias: As in `SmoothMLP`.
        key: A key of `jax.random`.

    Attributes:
        weights: $W_1, \dots, W_D$, each of shape (out, all features so far).
        biases: As in `SmoothMLP`.
        activation: The function.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `gflow.nn.DenseNet(64, (8, 8, 8), 10, key=jax.random.key(0))`
    """

    weights: Weights
    biases: Biases | None
    activation: Callable = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        widths: Sequence[int],
        out_size: OutSize = "scalar",
        activation: Name | Callable = "gelu",
        bias: bool = True,
        *,
        key: PRNGKeyArray,
    ):
        self.activation = _checked_activation(activation)
        shapes = _checked_shapes(in_size, widths, out_size)
        shapes = tuple(
            (*shape[:-1], in_size + sum(widths[:layer]))
            for layer, shape in enumerate(shapes)
        )
        self.weights = draw(key, shapes)
        self.biases = _zeros(shapes) if bias else None

    def __call__(
        self, x: Float[Array, " in"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "*classes"]:
        del key
        require_one_input(x, self.weights)
        *hidden, last = _layers(self.weights, self.biases)
        for weight, bias in hidden:
            x = jnp.concatenate([x, self.activation(weight @ x + bias)])
        return last[0] @ x + last[1]


def _layers(weights: Weights, biases: Biases | None) -> list[tuple]:
    zeros = (0.0,) * len(weights)
    return list(zip(weights, zeros if biases is None else biases, strict=True))


def _zeros(shapes: tuple[tuple[int, ...], ...]) -> Biases:
    return tuple(jnp.zeros(shape[:-1]) for shape in shapes)


def _checked_shapes(in_size: int, widths: Sequence[int], out_size: OutSize):
    shapes = dense_shapes(in_size, widths, out_size)
    if len(shapes) == 1:
        raise ValueError(
            "`widths` must hold at least one hidden layer, but is empty. "
            "For a linear model, use `gflow.nn.DeepLinear(in_size, ())`."
        )
    return shapes


def _checked_activation(activation: Name | Callable) -> Callable:
    if isinstance(activation, str) and activation in ACTIVATIONS:
        return ACTIVATIONS[activation]
    if not callable(activation):
        raise ValueError(
            f"`activation` must be one of {', '.join(ACTIVATIONS)}, or a function, but "
            f"is {activation!r}."
        )
    return activation
