import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._tree import Fixed
from .._types import Scalar
from ._kinks import leaky_relu
from ._width import fixed_width


def activation(
    u: Float[Array, "*shape"],
    power: int | float,
    leak: float,
    scale: Scalar | float,
    eps: Fixed | None,
) -> Float[Array, "*shape"]:
    """`signed_power`, smoothed if it has a kink and there is a width."""
    if power == 1 and eps is not None:
        return leaky_relu(u, leak, scale, eps.value)
    return signed_power(u, power, leak)


def activation_width(
    power: int | float, leak: float, eps: ArrayLike
) -> tuple[int | float, float, Fixed | None]:
    """The arguments of an activation, checked; no width where there is no kink."""
    if not (_is_real(power) and 1 <= power < math.inf):
        raise ValueError(
            f"`power` must be a finite number >= 1, but is {power!r}. "
            "Below 1 the derivative of the activation is infinite at 0."
        )
    if not (_is_real(leak) and math.isfinite(leak)):
        raise ValueError(f"`leak` must be a finite number, but is {leak!r}.")
    power = int(power) if power == int(power) else float(power)
    width = fixed_width(eps)
    kinked = power == 1 and leak != 1
    return power, float(leak), width if kinked else None


def signed_power(
    u: Float[Array, "*shape"], power: int | float, leak: float
) -> Float[Array, "*shape"]:
    r"""$u^p$ for $u > 0$ and $-a\,|u|^p$ for $u \leq 0$, with $a$ = `leak`.

    No derivative of any order is NaN. At the kink $u = 0$ they are those of the left
    side, an element of Clarke's subdifferential; for fractional `power` they are zero.
    """
    if isinstance(power, int):
        # One multiplication by a constant that no derivative goes through.
        below = leak if power % 2 else -leak
        return jnp.where(u > 0, 1.0, below) * u**power
    return fractional_power(u, power, leak)


# Jitted for its name in a jaxpr, by which `_plain_kinks` knows that it is smooth.
@functools.partial(jax.jit, static_argnames=("power", "leak"))
def fractional_power(
    u: Float[Array, "*shape"], power: float, leak: float
) -> Float[Array, "*shape"]:
    """`signed_power` for a power that is no whole number."""
    # It has infinite derivatives at zero, which must not be formed.
    size = jnp.where(u == 0, 1.0, jnp.abs(u))
    sign = jnp.where(u > 0, 1.0, jnp.where(u < 0, -leak, 0.0))
    return sign * size**power


def _is_real(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating)
