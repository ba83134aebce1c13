"""Which walls hold a point, by what samples pull from behind them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._frame import Frame
from ._types import Scalar
from ._walls import orthonormal, solved
from ._ways import SAME, End, Ways, near_of, pull_at


BEHIND = 1e-2
"""So far behind a wall a unit is kept, against what is near: there rounding cannot let
it see the sample."""

EQUAL = 1e-6
"""Normals of several margins that are less than this apart are of one wall."""


ROUNDED = 1e-14
"""Of what samples pull along a normal, one by one: a push away from a wall that is less
is rounding, and no reason to leave it."""


class Held(NamedTuple):
    """What holds the end of a step.

    Attributes:
        found: Which of the ways lead to a wall that counts.
        again: Which of the others lead to one of these.
        held: Which of these walls hold.
        broken: Which of them are no match for the push.
        normals: Of those found; else zeros.
        gram: The inner products of normals.
        pull: Of the samples, from behind the walls.
        pushes: What each would be pushed with if all held.
        strength: What each holds against, at most.
    """

    found: Bool[Array, " some"]
    again: Bool[Array, " some"]
    held: Bool[Array, " some"]
    broken: Bool[Array, " some"]
    normals: Float[Array, "some weights"]
    gram: Float[Array, "some some"]
    pull: Float[Array, " weights"]
    pushes: Float[Array, " some"]
    strength: Float[Array, " some"]


def holding(frame: Frame, end: End, ways: Ways) -> Held:
    """Which walls are there, and which of them hold."""
    foot, near = ways.foot, near_of(frame) * ways.reach
    strength = foot.slope
    some = jnp.any(foot.normal != 0, axis=1) & jnp.isfinite(foot.at)
    # What dies is at a wall once it is near; what was blind to it, wherever it sees.
    found = some & jnp.where(
        foot.opposes, ways.old | ways.blind | (-foot.at <= near), ways.blind
    )
    again = found & _again(foot.normal, ways.numbers, found)
    found = found & ~again
    basis = orthonormal(jnp.where(found[:, None], foot.normal, 0.0))
    found = found & jnp.any(basis != 0, axis=1)
    normals = jnp.where(found[:, None], foot.normal, 0.0)
    gram = normals @ normals.T
    least = ROUNDED * jax.vmap(lambda row: _pulled_along(frame, end, row))(normals)

    def pushed(loop, _):
        """From behind all of them, where none of their samples pulls."""
        found = loop[0]
        behind = solved(gram, foot.at - BEHIND * near, found)
        pull = pull_at(frame, end, end.point + behind @ normals)
        held, force = _pushed(gram, normals @ pull, found & foot.opposes, least)
        push = jnp.where(foot.opposes, force, jnp.abs(normals @ pull))
        left = found & (ways.old | (push <= strength))
        return (left, found, held, force, pull), ()

    # What is no match for the push is not there, the second time.
    start = found, found, found, strength, jnp.zeros_like(end.point)
    (_, found, held, force, pull), _ = jax.lax.scan(pushed, start, None, 2)
    broken = held & (force > strength)
    pushes = solved(gram, normals @ pull, found & foot.opposes)
    pushes = jnp.where(jnp.abs(pushes) <= least, 0.0, pushes)
    held = held & ~broken
    normals = jnp.where(found[:, None], normals, 0.0)
    same = again[:, None] & found[None] & _alike(foot.normal, ways.numbers)
    return Held(
        found, jnp.any(same, axis=1), held, broken, normals, gram, pull, pushes,
        strength,
    )  # fmt: skip


def _pulled_along(frame: Frame, end: End, normal) -> Scalar:
    """What samples pull along a direction, whichever way."""
    slopes = jax.jvp(frame.field.margins, (end.point,), (normal,))[1]
    return jnp.sum(jnp.where(frame.sighted, end.dual * jnp.abs(slopes), 0.0))


def _again(normals, numbers, found) -> Bool[Array, " some"]:
    """Which of the ways found lead to a wall that one before leads to."""
    alike = _alike(normals, numbers) & found[None]
    return jnp.any(jnp.tril(alike, -1), axis=1)


def _alike(normals, numbers) -> Bool[Array, "some some"]:
    """Which normals are of the same wall."""
    cosine = jnp.abs(normals @ normals.T)
    own = numbers[:, None] == numbers[None]
    return (cosine > 1 - EQUAL**2 / 2) | (own & (cosine > 1 - SAME**2 / 2))


def _pushed(gram, along, some, least):
    """Which walls are pushed at, and with what; the others are left one by one."""

    def unfinished(loop):
        held, force, first = loop
        return first | jnp.any(held & (force <= -least))

    def again(loop):
        held, force, first = loop
        least = jnp.argmin(jnp.where(held, force, jnp.inf))
        held = held & (first | (jnp.arange(len(held)) != least))
        return held, solved(gram, along, held), jnp.asarray(False)

    start = some, along, jnp.asarray(True)
    held, force, _ = jax.lax.while_loop(unfinished, again, start)
    return held, force
