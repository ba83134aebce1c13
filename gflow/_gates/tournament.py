"""The largest of many by gates of two: each round halves how many are left."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .program import Step


Entries = Float[Array, "entries *outputs"]
Valid = Bool[np.ndarray, "entries *outputs"]


def entries(step: Step, x: Array) -> tuple[Entries, Valid | None]:
    """What a reduction chooses from, along the first axis, and where there is any.

    Raises:
        ValueError: If the windows of a pooling are not supported.
    """
    if "axes" in step.equation.params:
        axes = [int(axis) for axis in step.equation.params["axes"]]
        rest = [axis for axis in range(x.ndim) if axis not in axes]
        shape = (-1, *(x.shape[axis] for axis in rest))
        return jnp.transpose(x, (*axes, *rest)).reshape(shape), None
    return _windows(x, **step.equation.params)


def _windows(
    x: Array,
    window_dimensions: tuple[int, ...],
    window_strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    base_dilation: tuple[int, ...],
    window_dilation: tuple[int, ...],
) -> tuple[Entries, Valid | None]:
    """The entries of each window; padding is none."""
    if any(factor != 1 for factor in base_dilation):
        raise ValueError(
            "Pooling with `base_dilation` is not supported by gflow. Leave it at one."
        )
    sides = np.asarray(padding).reshape(-1, 2)
    if np.any(sides < 0):
        raise ValueError(
            "Pooling with negative `padding` is not supported by gflow. Cut the array "
            "before."
        )
    spans = (np.asarray(window_dimensions) - 1) * window_dilation
    counts = (np.asarray(x.shape) + sides.sum(1) - spans - 1) // window_strides + 1
    padded = jnp.pad(x, padding)
    inside = np.pad(np.ones(x.shape, bool), padding)
    images, masks = [], []
    for place in np.ndindex(*window_dimensions):
        cut = tuple(
            slice(start, start + (number - 1) * stride + 1, stride)
            for start, number, stride in zip(
                np.multiply(place, window_dilation).tolist(),
                counts.tolist(),
                window_strides,
                strict=True,
            )
        )
        images.append(padded[cut])
        masks.append(inside[cut])
    valid = np.stack(masks)
    if not np.all(np.any(valid, axis=0)):
        raise ValueError(
            "A window of pooling lies in the padding as a whole, which gflow does not "
            "support. Use less padding."
        )
    return jnp.stack(images), None if np.all(valid) else valid
