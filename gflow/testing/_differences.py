"""Derivatives by differences of values, which know nothing of JAX's."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float


STEP, FAR_STEP = 1e-4, 1e-8
"""The step of a difference, and against the size of an argument that is larger than
their quotient. With the square of the step as the error of the rule, and rounding over
it, slopes are known to some 1e-6, of functions that vary on a scale of 0.1 or more."""

SLOPE_ROOM = 1e-5
"""How far a slope may be from its difference, against its size."""

ROUNDING = 20 * np.finfo(float).eps
"""What values are known to, against the largest of them and the argument."""

WIDE, NARROW = 1e-6, 1e-11
"""Pieces of a line on which changes are compared."""

STAYS, LEAST_JUMP = 0.95, 1e-6
"""A jump is what stays of a change from one to the other: of |u|^0.01, 0.89 do."""


def one_sided(
    fn: Callable[[np.ndarray], np.ndarray],
    points: Float[np.ndarray, "points per_sample"],
    axis: int,
    step: float = STEP,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slopes along one entry of the argument: from the left, the right, and rounding.

    By three values each, to second order. A slope that jumps nearby spoils one of both
    at most.

    Args:
        fn: From points (points, per_sample) to values with a leading axis of points.
        points: Where.
        axis: The entry that is moved.
        step: By how much, at least.

    Returns:
        Two arrays of slopes of the shape of the values, and what rounding does to them.
    """
    steps = np.maximum(step, FAR_STEP * np.abs(points[:, axis]))
    moved = []
    for times in (-2, -1, 0, 1, 2):
        there = points.copy()
        there[:, axis] += times * steps
        moved.append(np.asarray(fn(there)))
    steps = steps.reshape(-1, *(1,) * (moved[0].ndim - 1))
    far_left, left, here, right, far_right = moved
    before = (3 * here - 4 * left + far_left) / (2 * steps)
    after = (-3 * here + 4 * right - far_right) / (2 * steps)
    size = np.max(np.abs(points), axis=1).reshape(steps.shape)
    rounding = ROUNDING * np.maximum(np.max(np.abs(moved), axis=0), size) / steps
    return before, after, rounding


def nearest(
    expected: np.ndarray, slopes: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The difference nearer to a slope, and the room that it leaves."""
    before, after, rounding = slopes
    is_left = np.abs(before - expected) <= np.abs(after - expected)
    found = np.where(is_left, before, after)
    return found, SLOPE_ROOM * np.abs(expected) + rounding


def jump_of_slope(
    slope: Callable[[float], np.ndarray], low: float, high: float
) -> tuple[float, float]:
    """Where a function of one variable changes most within a piece, if it jumps there.

    A piece is cut in halves again and again, and the one with the larger change is
    kept, down to `NARROW`: the change of a function that is smooth, or like a power,
    goes on to fall, and a jump stays. One jump is found; smaller ones may hide behind
    larger changes.

    Args:
        slope: From a place to values of any shape.
        low: The first place.
        high: The last.

    Returns:
        The place, and the jump relative to the values there; 0 if there is none.
    """
    width, wide = high - low, np.inf
    at_low, at_high = slope(low), slope(high)
    while high - low > NARROW * width:
        middle = (low + high) / 2
        here = slope(middle)
        if np.max(np.abs(here - at_low)) >= np.max(np.abs(at_high - here)):
            high, at_high = middle, here
        else:
            low, at_low = middle, here
        if high - low > WIDE * width:
            wide = np.max(np.abs(at_high - at_low))
    last = np.max(np.abs(at_high - at_low))
    size = max(np.max(np.abs(at_low)), np.max(np.abs(at_high)), 1e-300)
    stays = last > STAYS * wide and last > LEAST_JUMP * size
    return low, float(last / size) if stays else 0.0
