"""The motion near one point, linearized, and what the samples pull there."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._field import Field
from .._frame import Frame
from .._framing import REST, make_frame
from .._jacobian import by_rows
from ._carry import Carry, Tolerance


STILL, FAINT, LIGHT = 4.0, 10.0, 1e-6
"""In a unit whose gradient is below the first of these times what is taken for rest,
samples are lost that pull at it by less than the second times that, if none of their
pulls is more than the third of the largest."""


def motion(
    field: Field, carry: Carry, tolerance: Tolerance, whole: bool
) -> dict[str, PyTree]:
    """The motion in the frame and its Jacobian, and the pulls of the samples.

    All in sizes of units. Of the pulls of samples that are lost, those that are lost
    come first, and then all. Unless the `whole` Jacobian is asked for, its place has
    the frame, for products with vectors.
    """
    frame = make_frame(
        field, carry.point, carry.log_radius, carry.dual, carry.gradient,
        carry.walls.in_clock(0.0), carry.length, tolerance.rtol,
    )  # fmt: skip
    frame = eqx.tree_at(lambda f: f.rest, frame, jnp.zeros_like(frame.rest))
    relative = frame.start / frame.size
    resting = jnp.maximum(REST[0] * tolerance.rtol, REST[1])
    least = FAINT * resting * jnp.where(frame.pulled > 0, frame.pulled, 1.0)

    def pulls(rows, _, sizes, dual):
        own = field.units.norms(sizes[:, None] * rows, frame.unit)
        share = own / least[None]
        light = jnp.max(own / frame.size[None], axis=1) < LIGHT * fastest
        share = jnp.where((share > 0) & light[:, None], share, jnp.inf)
        here = dual[:, None] * rows
        is_lost = (share <= 1) & still[None]
        lost = jnp.where(is_lost, here, 0.0)
        whole = jnp.where(jnp.any(is_lost, axis=1)[:, None], here, 0.0)
        faint = jnp.stack([lost, whole])
        sums = jnp.sum(faint, axis=1), jnp.sum(jnp.abs(faint), axis=1)
        return jnp.min(share, axis=1), (sizes @ jnp.abs(rows), *sums)

    sizes = field.duals.pull_sizes(field.flow, frame.dual)
    fastest = jnp.max(frame.pulled / frame.size)
    force = field.units.norms(carry.gradient, frame.unit)
    still = force <= STILL * resting * frame.pulled
    shares, sums = by_rows(frame.jacobian, pulls, sizes, frame.dual)
    pull = sums[0] / frame.size
    faint, faint_pull = (total / frame.size[None] for total in sums[1:])
    linear = jax.jacfwd(partial(moved, frame))(relative) if whole else frame
    return {
        "linear": linear,
        "motion": moved(frame, relative),
        "force": (carry.gradient - frame.rate * frame.start) / frame.size,
        "pull": pull,
        "faint": faint.T,
        "faint_pull": faint_pull.T,
        "shares": shares,
        "pulled": frame.pulled / frame.size,
        "rate": frame.rate,
        "size": frame.size / jnp.sqrt(jnp.sum(frame.start**2)),
        "point": frame.start,
        "unit": frame.unit,
    }


def moved(frame: Frame, relative: Float[Array, " weights"]) -> Float[Array, " weights"]:
    """How fast weights move in the frame, in sizes of units as they are."""
    point = frame.size * relative
    margins = frame.field.margins(point)
    zero = jnp.zeros(())
    dual = frame.dual_weights(margins, zero)
    _, gradient = frame.negative_gradient(zero, point, dual)
    return (gradient - frame.rate * point) / frame.size


def forward(frame: Frame, vector: Float[Array, " weights"]) -> Float[Array, " weights"]:
    """The Jacobian of the motion times a vector."""
    at = frame.start / frame.size
    return jax.jvp(partial(moved, frame), (at,), (vector,))[1]


def backward(
    frame: Frame, vector: Float[Array, " weights"]
) -> Float[Array, " weights"]:
    """Its transpose times a vector."""
    at = frame.start / frame.size
    return jax.vjp(partial(moved, frame), at)[1](vector)[0]
