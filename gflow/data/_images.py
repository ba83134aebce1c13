"""Images of the ten digits as labeled data: what their sources share."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Shaped

from .._checks import checked_count


def labeled_images(
    pixels: Float64[np.ndarray, "images pixels"],
    target: Shaped[np.ndarray, " images"],
    classes: Sequence[int] | None,
    samples: int | None,
) -> tuple[Float64[np.ndarray, "samples pixels"], Shaped[np.ndarray, " samples"]]:
    """The images of some digits, centered and of mean norm one, and their labels."""
    chosen = checked_classes(range(10) if classes is None else classes)
    keep = np.flatnonzero(np.isin(target, chosen))
    if samples is not None:
        if checked_count(samples, "samples", least=2) > keep.size:
            raise ValueError(
                f"`samples` must be at most {keep.size}, the number of images of the "
                f"digits {chosen}, but is {samples}. For all, pass `samples=None`."
            )
        keep = keep[:samples]
    x, target = pixels[keep], target[keep]
    x = x - x.mean(0)
    x = x / np.linalg.norm(x, axis=1).mean()
    if len(chosen) == 2:
        return x, np.where(target == chosen[0], 1.0, -1.0)
    position = np.full(10, -1, dtype=np.int64)
    position[list(chosen)] = np.arange(len(chosen))
    return x, position[target]


def checked_classes(classes) -> tuple[int, ...]:
    """The digits asked for, two or more and distinct, or an error."""
    try:
        chosen = tuple(checked_count(digit, "classes", least=0) for digit in classes)
    except TypeError:
        raise ValueError(
            f"`classes` must be a tuple of digits, but is {classes!r}. "
            "For two classes, pass `(3, 8)`."
        ) from None
    if len(chosen) < 2 or len(set(chosen)) < len(chosen) or max(chosen) > 9:
        raise ValueError(
            "`classes` must hold two or more different digits, 0 to 9, but is "
            f"{chosen}. For all ten, pass `None`."
        )
    return chosen
