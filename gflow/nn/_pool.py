import jax.numpy as jnp

from ._windows import Image, checked_stride, windows


def max_pool(x: Image, size: int = 2, stride: int | None = None) -> Image:
    """The largest entry of each window of an image, channel by channel.

    Args:
        x: One image; for many, use `jax.vmap`.
        size: Of the window, which is square; there is no padding, and windows that
            would reach over the border are left out.
        stride: From window to window; `size` if `None`.

    Returns:
        An image of (height - size) // stride + 1 rows, and columns likewise.

    Raises:
        ValueError: If `x` is not of shape (channels, height, width), or no window
            fits, or another argument is out of its range.

    Example:
        `gflow.nn.max_pool(x, 2)` halves either side.
    """
    size, stride = checked_stride(size, stride)
    return jnp.max(jnp.stack(windows(x, size, stride)), axis=0)


def avg_pool(x: Image, size: int = 2, stride: int | None = None) -> Image:
    """The mean of each window of an image, channel by channel.

    Args:
        x: One image; for many, use `jax.vmap`.
        size: As in `gflow.nn.max_pool`.
        stride: As in `gflow.nn.max_pool`.

    Returns:
        An image of (height - size) // stride + 1 rows, and columns likewise.

    Raises:
        ValueError: As in `gflow.nn.max_pool`.

    Example:
        `gflow.nn.avg_pool(x, 2)` halves either side.
    """
    size, stride = checked_stride(size, stride)
    return jnp.mean(jnp.stack(windows(x, size, stride)), axis=0)
