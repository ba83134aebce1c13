"""How fast each unit grows on a step, and by which power the fastest outgrow it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._field import Field
from ._types import Scalar


DECAY = 1.5
"""A frame decays by at most e to this on one step: a part of a unit that does not decay
with it would grow against it."""

ALIKE = 1e-2
"""Units that grow as fast as the radius but for this share of it grow with it."""

FASTEST = 0.5
"""Units that grow at this share of the fastest rate set the degree of growth."""


class Paces(NamedTuple):
    r"""The rates of a frame.

    Attributes:
        rate: $m_b$, one entry a weight.
        share: $\omega_b$, one entry a weight.
        power: $k - 2$.
    """

    rate: Float[Array, " weights"]
    share: Float[Array, " weights"]
    power: Scalar


def paces(
    field: Field,
    allowed: Callable,
    point: Float[Array, " weights"],
    gradient: Float[Array, " weights"],
    unit: Int[Array, " weights"],
    size: Float[Array, " weights"],
    rest: Bool[Array, " weights"],
    growth: Scalar,
    length: Scalar,
) -> Paces:
    """The rates at the start of a step.

    Args:
        field: The flow.
        allowed: From a point to the negative gradient of what may move.
        point: At the start.
        gradient: There.
        unit: Of each weight.
        size: Of the unit of each weight.
        rest: The weights that stand still.
        growth: Of the radius.
        length: Of the step, about.
    """
    units = field.units
    safe = jnp.where(size > 0, size, 1.0)
    relative = point / safe
    _, linearized = jax.linearize(allowed, point)
    # A unit that another drags along grows at first faster than for long.
    # Of the way on the step: the gradient itself may underflow in products.
    way = jnp.where(length > 0, length, 1.0)
    bent = relative * (linearized(way * gradient) / safe)
    both = jnp.stack([relative * (gradient / safe), bent])
    own, second = units.averages(both, size, unit)
    lasting = jnp.sqrt(jnp.maximum(second, 0.0)) / jnp.sqrt(way)
    decay = jnp.minimum(lasting, DECAY / jnp.where(length > 0, length, jnp.inf))
    rate = jnp.clip(own, -decay, jnp.maximum(lasting, growth))
    rate = jnp.where((size > 0) & ~rest, rate, 0.0)
    # Far out log r grows by 1e9 on a step: units that grow with it must do so.
    rate = jnp.where(jnp.abs(rate - growth) <= ALIKE * growth, growth, rate)
    excess = jnp.maximum(rate - growth, 0.0)
    fastest = jnp.max(excess)
    growing = fastest > 1e-3 * jnp.max(jnp.abs(rate))
    share = jnp.where(growing, (excess / jnp.maximum(fastest, 1e-300)) ** 4, 0.0)
    set_of = jnp.where(excess >= FASTEST * fastest, point, 0.0)
    bent = jnp.dot(set_of, linearized(set_of))
    force_of = jnp.dot(set_of, gradient)
    power = bent / jnp.where(force_of > 0, force_of, 1.0) - 1
    growing = growing & (force_of > 0) & (power > 1e-6)
    power = jnp.where(growing, jnp.minimum(power, 20.0), 0.0)
    total = jnp.sum(share * relative**2)
    share = jnp.where(growing, share / jnp.where(total > 0, total, 1.0), 0.0)
    return Paces(rate, share, power)
