import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import checked_count
from ._homogeneous import AbstractHomogeneous
from ._weights import draw
from ._windows import Image, windows


Kernel = Float[Array, "out in size size"]


class Conv2d(AbstractHomogeneous):
    r"""A convolution without biases, as a layer: degree 1.

    As everywhere in machine learning it is a correlation: the kernel is not flipped.
    Entries start as independent Gaussians of variance 1 / (in size$^2$).

    Args:
        in_channels: Of the input, at least 1.
        out_channels: Of the output, at least 1.
        size: Of the kernel, which is square.
        stride: From window to window.
        padding: How many rows and columns of zeros on each side; `size // 2` keeps the
            size of the image if `size` is odd and `stride` 1.
        key: A key of `jax.random`.

    Attributes:
        weight: The kernel.
        stride: As given.
        padding: As given.

    Raises:
        ValueError: If an argument is not an int in its range.

    Example:
        `gflow.nn.Conv2d(1, 8, 3, padding=1, key=key)` maps (1, 28, 28) to (8, 28, 28).
    """

    weight: Kernel
    stride: int = eqx.field(static=True)
    padding: int = eqx.field(static=True)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int,
        stride: int = 1,
        padding: int = 0,
        *,
        key: PRNGKeyArray,
    ):
        out_channels = checked_count(out_channels, "out_channels")
        in_channels = checked_count(in_channels, "in_channels")
        size = checked_count(size, "size")
        self.stride = checked_count(stride, "stride")
        self.padding = checked_count(padding, "padding", least=0)
        (matrix,) = draw(key, ((out_channels, in_channels * size**2),))
        self.weight = matrix.reshape(out_channels, in_channels, size, size)

    @property
    def degree(self):
        return 1.0

    def units(self):
        return (("out", "in", None, None),)

    def __call__(self, x, *, key=None):
        del key
        return convolve(x, self.weight, self.stride, self.padding)


def convolve(x: Image, kernel: Kernel, stride: int = 1, padding: int = 0) -> Image:
    """The convolution of one image, as one product of matrices.

    On CPUs XLA has no fast convolution of float64: per-sample gradients of two layers
    on 14 x 14 took 182 ms with `lax.conv_general_dilated`, and 7 ms so.
    """
    out, channels, size, _ = kernel.shape
    if jnp.shape(x)[:1] != (channels,):
        raise ValueError(
            f"`x` must have shape ({channels}, height, width), but has shape "
            f"{jnp.shape(x)}. For many images, use `jax.vmap`."
        )
    pixels = jnp.stack(windows(x, size, stride, padding), axis=1)
    image = pixels.shape[2:]
    return (kernel.reshape(out, -1) @ pixels.reshape(-1, image[0] * image[1])).reshape(
        out, *image
    )
