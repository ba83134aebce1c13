"""When the modes of a motion must be looked at, for want of an error that sees them."""

import jax.numpy as jnp

from .._coordinates import two_norm
from .._frame import Frame


QUIET = 1e-2
"""Where units move less than this on a step, frames apart, its error says nothing of
unstable modes that are too small to be seen."""

FAR = 0.1
"""Units that have moved so far may be at another rest."""

LONG = 0.3
"""Steps of this many times of the fastest unit may damp what they do not see."""

AGAIN, SOON = 1e4, 2.0
"""Modes are looked at again where steps have become so much longer; for samples that
are lost in a balance no sooner than where they have become that much longer."""

STANDING = 1e-3
"""Steps of this share of the longest are looked at whatever moves."""

LONGEST = 1e280
"""The longest step: where nothing moves, steps would grow past all bounds."""


def watch(frame: Frame, carry, length, end, there, step, keep, slower, clock) -> dict:
    """Whether the modes of the motion must be looked at, and what is known of them.

    Also where a unit rests and others move: what pulls at it may be lost in that.
    """
    field = frame.field
    looked, longest, way = (a / clock for a in (carry.looked, carry.longest, carry.way))
    moved = two_norm(frame.weight * (end - frame.start))
    strayed = carry.strayed + jnp.where(keep, moved, 0.0)
    due = (way > 0) & keep & (way <= length)
    anew = (strayed > FAR) | due
    way = way - jnp.where(keep & (way > 0), length, 0.0)
    looked = jnp.where(anew, 0.0, looked)
    fastest = jnp.max(frame.pulled / frame.size)
    long = (length * fastest > LONG) | (length > STANDING * LONGEST)
    quiet = keep & (moved < QUIET) & long
    scale = field.scale(there.margins, step.log_radius)
    # Far out the direction rests while the radius grows: that is for `limit`.
    stays = jnp.abs(frame.growth) * length < QUIET
    quiet = quiet & field.euclidean & (field.mild(there.margins, scale) | stays)
    unseen = due | quiet & ((length > AGAIN * looked) | (length > 0.5 * LONGEST))
    searched = carry.searched / clock
    rests = keep & jnp.any(frame.rest) & long & (length > searched)
    known = looked > 0
    return {
        "unseen": unseen,
        "rests": rests,
        "looked": looked * slower,
        "searched": searched * slower,
        "strayed": jnp.where(known & ~unseen, strayed, 0.0),
        "longest": jnp.where(known, longest * slower, jnp.inf),
        "way": jnp.where(known, way * slower, 0.0),
    }
