from collections.abc import Sequence
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from .._checks import checked_count
from ._activation import checked_activation, signed_power
from ._conv import Kernel, convolve
from ._homogeneous import AbstractHomogeneous
from ._pool import avg_pool, max_pool
from ._weights import OutSize, Weights, dense_shapes, draw, layer_names


class ConvNet(AbstractHomogeneous):
    r"""A convolutional network without biases, for images of one channel.

    AlexNet in small: layers of convolution, activation and pooling, then dense layers.
    Convolutions keep the size of the image by zeros around it; pooling halves it,
    rounding down. The activation is that of `MLP`, a power of (leaky) ReLU. It stands
    before average-pooling but after max-pooling, which is the same network as before it
    if `leak` is not negative, with fewer kinks. Homogeneous of degree $1 + p + \dots +
    p^{D-1}$ with $p$ = `power` and $D$ layers of weights.
    Entries start as independent Gaussians of variance 1 / (number of inputs).

    Args:
        image: Height and width of the input, as (28, 28).
        channels: Output channels of the convolutions, at least one.
        widths: The sizes of the hidden dense layers; `()` for a linear read-out.
        out_size: `"scalar"`, or the number of logits, at least 2.
        power: As in `MLP`.
        leak: As in `MLP`.
        pool: `"max"` or `"average"`, over windows of 2 x 2.
        size: Of the kernels, odd.
        key: A key of `jax.random`.

    Attributes:
        kernels: Those of the convolutions, each (out, in, size, size).
        weights: The dense layers, as in `MLP`.
        power: As given, an int if whole.
        leak: As given.
        pool: As given.
        image: As given.

    Raises:
        ValueError: If an argument is out of its range, or the image too small to be
            halved once for each convolution.

    Example:
        `gflow.nn.ConvNet((14, 14), (8, 16), (), 10, key=jax.random.key(0))` has degree
        3 and 2,664 weights.
    """

    kernels: tuple[Kernel, ...]
    weights: Weights
    power: int | float = eqx.field(static=True)
    leak: float = eqx.field(static=True)
    pool: str = eqx.field(static=True)
    image: tuple[int, int] = eqx.field(static=True)

    def __init__(
        self,
        image: tuple[int, int],
        channels: Sequence[int],
        widths: Sequence[int] = (),
        out_size: OutSize = "scalar",
        power: int | float = 1,
        leak: float = 0.0,
        pool: Literal["max", "average"] = "max",
        size: int = 3,
        *,
        key: PRNGKeyArray,
    ):
        if pool not in ("max", "average"):
            raise ValueError(f'`pool` must be "max" or "average", but is {pool!r}.')
        if checked_count(size, "size") % 2 == 0:
            raise ValueError(
                f"`size` must be odd, but is {size}: an even kernel would change the "
                "size of the image. Pass 3 or 5."
            )
        self.image = _checked_image(image)
        channels = _checked_channels(channels, self.image)
        self.power, self.leak = checked_activation(power, leak)
        self.pool = pool

        pairs = zip((1, *channels), channels, strict=False)
        flat = [(out, channel * size**2) for channel, out in pairs]
        pixels = [length // 2 ** len(channels) for length in self.image]
        dense = dense_shapes(channels[-1] * pixels[0] * pixels[1], widths, out_size)
        drawn = draw(key, (*flat, *dense))
        self.kernels = tuple(
            matrix.reshape(len(matrix), -1, size, size)
            for matrix in drawn[: len(channels)]
        )
        self.weights = drawn[len(channels) :]

    @property
    def degree(self):
        layers = len(self.kernels) + len(self.weights)
        return float(sum(self.power**layer for layer in range(layers)))

    def units(self):
        channels = [None, *(f"channels {k + 1}" for k in range(len(self.kernels)))]
        pairs = zip(channels[1:], channels, strict=False)
        kernels = tuple((out, inside, None, None) for out, inside in pairs)
        return (*kernels, *layer_names(self.weights))

    def __call__(self, x, *, key=None):
        del key
        height, width = self.image
        if jnp.shape(x) not in (self.image, (height * width,)):
            raise ValueError(
                f"`x` must be one image of shape {self.image}, or flat, but has shape "
                f"{jnp.shape(x)}. For many inputs, use `jax.vmap(network)(x)`."
            )
        x = jnp.reshape(x, (1, height, width))
        for kernel in self.kernels:
            x = convolve(x, kernel, padding=kernel.shape[-1] // 2)
            if self.pool == "max":
                x = max_pool(x, 2)
            x = signed_power(x, self.power, self.leak)
            if self.pool == "average":
                x = avg_pool(x, 2)
        x = jnp.ravel(x)
        for weight in self.weights[:-1]:
            x = signed_power(weight @ x, self.power, self.leak)
        return self.weights[-1] @ x


def _checked_image(image: tuple[int, int]) -> tuple[int, int]:
    if not (isinstance(image, tuple | list) and len(image) == 2):
        raise ValueError(
            f"`image` must be a height and a width, but is {image!r}. "
            "For square images, pass `(28, 28)`."
        )
    return checked_count(image[0], "image"), checked_count(image[1], "image")


def _checked_channels(channels: Sequence[int], image: tuple) -> tuple[int, ...]:
    if not isinstance(channels, tuple | list) or not channels:
        raise ValueError(
            f"`channels` must be a tuple of at least one int, but is {channels!r}. "
            "For one convolution, pass `(8,)`."
        )
    if min(image) < 2 ** len(channels):
        raise ValueError(
            f"`image` must be at least {2 ** len(channels)} pixels high and wide to be "
            f"halved by {len(channels)} convolutions, but is {image}. "
            "Pass fewer `channels`."
        )
    return tuple(checked_count(channel, "channels") for channel in channels)
