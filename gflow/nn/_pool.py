import jax.numpy as jnp

from ._kinks import Number, maximum
from ._width import EPS
from ._windows import Image, checked_stride, windows


def max_pool(
    x: Image,
    size: int = 2,
    scale: Number = 1.0,
    eps: Number = EPS,
    stride: int | None = None,
) -> Image:
    r"""The smoothed maximum of each window of an image, channel by channel.

    Above the exact one by at most $2 \omega \log(\text{size})$, $\omega$ = `eps` x
    `scale`. Homogeneous of degree 1 in `x` and `scale` together.

    Args:
        x: One image; for many, use `jax.vmap`.
        size: Of the window, which is square; there is no padding, and windows that
            would reach over the border are left out.
        scale: As in `gflow.nn.relu`: grows with the weights as `x` does.
        eps: As in `gflow.nn.relu`; 0 for the exact maximum.
        stride: From window to window; `size` if `None`.

    Returns:
        An image of (height - size) // stride + 1 rows, and columns likewise.

    Raises:
        ValueError: If `x` is not of shape (channels, height, width), or no window
            fits, or another argument is out of its range.

    Example:
        `gflow.nn.max_pool(x, 2, gflow.nn.radius(self))` after one layer.
    """
    size, stride = checked_stride(size, stride)
    return maximum(jnp.stack(windows(x, size, stride)), scale, eps, axis=0)


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
