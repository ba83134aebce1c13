"""Kinks that a flow slides along, and leaves on a step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _log_time
from .._coordinates import two_norm
from .._frame import Frame
from .._slides import full_dual, multipliers
from .._types import Scalar
from ._missed import turned, unit_at
from ._passages import passages


class Leaving(NamedTuple):
    """The kinks that a flow should have left before the end of a step.

    Attributes:
        left: Of the kinks slid along, whether it should.
        above: Whether with its gate on.
        since: From which fraction of the step on.
        missed: What is missed, against the sizes of units.
    """

    left: Bool[Array, "blocks room"]
    above: Bool[Array, "blocks room"]
    since: Float[Array, "blocks room"]
    missed: Scalar


def room_of(frame: Frame, s, point, dual):
    """By how much the multipliers of kinks slid along are inside of [0, 1]."""
    field = frame.field
    unit, log_radius = unit_at(frame, s, point)
    whole = full_dual(field, field.margins(unit), log_radius, dual)
    found, slack = multipliers(field, unit, whole)
    return slack + found, slack + 1 - found


def leaving_of(frame: Frame, length, points, duals, room) -> Leaving:
    """The kinks whose multipliers are out at the end."""
    field, left = frame.field, room < 0

    def some():
        times = length * _log_time.NODES
        all_duals = jnp.concatenate([frame.dual[None], duals])
        lower, upper = jax.lax.map(
            lambda given: room_of(frame, *given), (times, points, all_duals)
        )
        above = left & (upper[-1] < lower[-1])
        since, _ = passages(jnp.where(above[None], upper, lower))
        since = jnp.where(left, jnp.minimum(since, 1.0), jnp.inf)
        out = jnp.where(left, length * (1 - since) * -room, 0.0)
        numbers = jnp.where(left, field.gates.slides, -1)
        turn = jnp.zeros(field.gates.on.size + 1)
        turn = turn.at[numbers].set(jnp.where(above, out, -out))[:-1]
        turn = turn.reshape(field.gates.on.shape)
        lost = turned(frame, length, points[-1], duals[-1], turn, False)
        lost = jnp.exp(-frame.sigma * length) * lost
        return Leaving(left, above, since, two_norm(frame.weight * lost))

    def none():
        never = jnp.full(left.shape, jnp.inf)
        return Leaving(left, left, never, jnp.zeros(()))

    return jax.lax.cond(jnp.any(left), some, none)
