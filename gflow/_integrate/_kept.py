"""How much of a step that passes kinks can be kept."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._frame import Frame
from .._types import Scalar
from ._leaving import Leaving
from ._missed import sizes


MISSED = 0.3
"""What a step may miss for want of the right gates, in units of the tolerance."""

INSIDE = 3.0
"""And what it may miss between its ends, where a quartic does not follow kinks."""

RAMP = 0.15
"""What a quartic misses of a bend near the end of a step, at its sixths, at most."""

SHARP = 3.0
"""And where gates cannot be decided within the loop: to first order, then."""

CUT = 0.9
"""Of the step that is just short enough."""

LAST = 1 - 1e-9
"""A step that is cut is no longer than this share of it."""


def may_be_kept(frame: Frame, lack: Float[Array, "9 weights"]) -> Bool[Array, ""]:
    """Whether a step that lacks so much is worth another round."""
    second, inside, _ = sizes(frame, lack)
    return (second <= MISSED * frame.rtol) & (inside <= INSIDE * frame.rtol)


def share_kept(
    frame: Frame,
    lack: Float[Array, "9 weights"],
    change: Scalar,
    since: Float[Array, "samples kinks"],
    leaving: Leaving,
    fine: Bool[Array, ""],
) -> tuple[Scalar, Scalar]:
    """The share of a step that can be kept, and when its first kink is passed.

    Args:
        frame: Of the step.
        lack: What its gates lack, and has been made good.
        change: By how much the last round has changed that.
        since: From when on each gate is wrong.
        leaving: The kinks that it leaves.
        fine: Whether the gates at its end are known.
    """
    second, inside, total = sizes(frame, lack)
    change = jnp.maximum(change, second)
    first = jnp.min(leaving.since, initial=jnp.inf)
    first = jnp.minimum(jnp.min(since), first)
    # As shares of the way past the first kink: squares, and what grows in proportion.
    squares = jnp.maximum(change, leaving.missed) / (MISSED * frame.rtol)
    lines = jnp.where(fine, 0.0, total / (SHARP * frame.rtol))
    inside = inside / (INSIDE * frame.rtol)
    # On a shorter step kinks are passed later, and the quartic follows them less.
    late = jnp.maximum(inside, RAMP * total / (INSIDE * frame.rtol))
    most = jnp.maximum(jnp.sqrt(squares), lines)
    most = jnp.maximum(most, jnp.where(inside > 1, late, 0.0))
    cut = first + (1 - first) * CUT / jnp.maximum(most, 1.0)
    usable = jnp.isfinite(most)
    share = jnp.where(usable, jnp.minimum(cut, LAST), 0.5 * jnp.minimum(first, 1.0))
    return jnp.where(most <= 1, 1.0, share), first
