"""Square windows that slide over an image: what convolution and pooling share."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import checked_count


Image = Float[Array, "channels height width"]


def windows(x: Image, size: int, stride: int, padding: int = 0) -> list[Image]:
    """For each place in the window, its pixel in every window: `size`^2 images.

    Raises:
        ValueError: If no window fits into the image.
    """
    if jnp.ndim(x) != 3:
        raise ValueError(
            "`x` must have shape (channels, height, width), but has shape "
            f"{jnp.shape(x)}. For one channel, pass `x[None]`."
        )
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    if min(x.shape[1:]) < size:
        raise ValueError(
            f"`x` must hold at least one window of {size} x {size}, but its images "
            f"have shape {x.shape[1:]}. Use fewer layers of pooling or more padding."
        )
    # Windows that would reach over the border are dropped.
    rows, columns = ((length - size) // stride + 1 for length in x.shape[1:])
    return [
        x[:, i : i + stride * rows : stride, j : j + stride * columns : stride][
            :, :rows, :columns
        ]
        for i in range(size)
        for j in range(size)
    ]


def checked_stride(size: int, stride: int | None) -> tuple[int, int]:
    """The size of a window and its stride, or an error; by default they are equal."""
    size = checked_count(size, "size")
    return size, size if stride is None else checked_count(stride, "stride")
