import functools
import importlib.util
import pathlib

import numpy as np
from jaxtyping import Float64, Shaped

from ._images import labeled_images


def digits(
    classes: tuple[int, ...] | None = None, *, samples: int | None = None
) -> tuple[
    Float64[np.ndarray, "samples 64"],
    Shaped[np.ndarray, " samples"],
]:
    r"""Handwritten digits of 8 x 8 pixels, 1797 in all, bundled with scikit-learn.

    The pixels $p_i$ of the selected samples, 0 to 16, are centered and divided by one
    number, so that the mean norm is one:

    $$x_i = \frac{u_i}{\frac1n \sum_j \|u_j\|}, \qquad
      u_i = \frac{p_i}{16} - \frac1n \sum_j \frac{p_j}{16}.$$

    Both means run over the selected samples alone, so the same image has other
    coordinates under other `classes` or `samples`.

    Args:
        classes: The digits to keep, two or more of 0 to 9; all ten if `None`.
        samples: Keep only so many, the first in file order; all of them if `None`.

    Returns:
        The inputs `x` and the labels `y`. With two classes `y` is float64, +1 for the
        first one named and -1 for the second. Otherwise it is int64: the position in
        `classes`, which for all ten is the digit.

    Raises:
        ValueError: If `classes` or `samples` names digits or samples that are not
            there, or `samples` is too small to hold two different images.
        ModuleNotFoundError: If scikit-learn is not installed.

    Example:
        `x, y = gflow.data.digits((3, 8), samples=100)`

    References:
        Alpaydin and Kaynak (1998), "Optical Recognition of Handwritten Digits",
        UCI Machine Learning Repository; the test part.
    """
    pixels, target = table()
    return labeled_images(pixels / 16.0, target, classes, samples)


@functools.cache
def table() -> tuple[Float64[np.ndarray, "1797 64"], Shaped[np.ndarray, " 1797"]]:
    """The pixels, 0 to 16, and the digits of scikit-learn's file, read-only."""
    # Importing scikit-learn takes 1.1 s, twice what NumPy and JAX take together;
    # its file takes 0.05 s. `find_spec` locates the package without running it.
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "`gflow.data.digits` reads the images bundled with scikit-learn, which is "
            "not installed. Run `pip install scikit-learn`."
        )
    path = pathlib.Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(path, delimiter=",", dtype=np.int64)
    pixels, target = rows[:, :-1].astype(np.float64), rows[:, -1].copy()
    pixels.flags.writeable = target.flags.writeable = False
    return pixels, target
