"""How a check says which law is broken: by an `AssertionError` of one sentence."""

from collections.abc import Callable

import numpy as np
from jaxtyping import ArrayLike


def require(holds: object, law: str, found: str) -> None:
    """Refuse what breaks a law.

    Raises:
        AssertionError: "law, but found."
    """
    if not bool(holds):
        raise AssertionError(f"{law}, but {found}.")


def require_all(
    holds: ArrayLike, law: str, found: Callable[[tuple[int, ...]], str]
) -> None:
    """Refuse an array with a false entry; `found` tells of the first by its index.

    Raises:
        AssertionError: If there is one.
    """
    wrong = np.argwhere(~np.asarray(holds, bool))
    if wrong.size:
        raise AssertionError(f"{law}, but {found(tuple(wrong[0].tolist()))}.")


def require_close(
    found: ArrayLike,
    expected: ArrayLike,
    room: ArrayLike,
    law: str,
    where: Callable[[tuple[int, ...]], str],
) -> None:
    """Refuse an array that is farther from another than there is room for.

    The sentence is of the entry that is worst in units of its room; NaN is infinitely
    far. Equal infinities are equal.

    Args:
        found: Any array.
        expected: What it should be, of its shape.
        room: How far it may be off, of a shape that broadcasts to it.
        law: What must hold.
        where: Tells of an entry by its index.

    Raises:
        AssertionError: If there is one too far.
    """
    found, expected = np.asarray(found), np.asarray(expected)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        off = np.where(found == expected, 0.0, np.abs(found - expected))
        misfit = np.where(off > 0, off / np.asarray(room), off)
    misfit = np.where(np.isnan(misfit), np.inf, misfit)
    if misfit.size == 0 or np.max(misfit) <= 1:
        return
    at = tuple(int(i) for i in np.unravel_index(np.argmax(misfit), misfit.shape))
    allowed = np.broadcast_to(room, misfit.shape)[at]
    raise AssertionError(
        f"{law}, but {where(at)} it is {found[at]:.10g} where {expected[at]:.10g} is "
        f"expected: off by {off[at]:.2g}, with room for {allowed:.2g}."
    )
