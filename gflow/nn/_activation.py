import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def checked_activation(power: int | float, leak: float) -> tuple[int | float, float]:
    """The arguments of an activation, checked; a whole power is an int."""
    if not (_is_real(power) and 1 <= power < math.inf):
        raise ValueError(
            f"`power` must be a finite number >= 1, but is {power!r}. "
            "Below 1 the derivative of the activation is infinite at 0."
        )
    if not (_is_real(leak) and math.isfinite(leak)):
        raise ValueError(f"`leak` must be a finite number, but is {leak!r}.")
    return int(power) if power == int(power) else float(power), float(leak)


def signed_power(
    u: Float[Array, "*shape"], power: int | float, leak: float
) -> Float[Array, "*shape"]:
    r"""$u^p$ for $u > 0$ and $-a\,|u|^p$ for $u \leq 0$, with $a$ = `leak`.

    No derivative of any order is NaN. At the kink $u = 0$ they are those of the left
    side, an element of Clarke's subdifferential; for fractional `power` they are zero.
    """
    if power == 1:
        return u if leak == 1 else jnp.where(u > 0, u, leak * u)
    if isinstance(power, int):
        # One multiplication by a constant that no derivative goes through.
        below = leak if power % 2 else -leak
        return u**power if below == 1 else jnp.where(u > 0, 1.0, below) * u**power
    return fractional_power(u, power, leak)


# By this name gates know that it is smooth.
@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def fractional_power(
    u: Float[Array, "*shape"], power: float, leak: float
) -> Float[Array, "*shape"]:
    """`signed_power` for a power that is no whole number."""
    # It has infinite derivatives at zero, which must not be formed.
    size = jnp.where(u == 0, 1.0, jnp.abs(u))
    sign = jnp.where(u > 0, 1.0, jnp.where(u < 0, -leak, 0.0))
    return sign * size**power


@fractional_power.defjvp
def _fractional_power_jvp(power, leak, primals, tangents):
    (u,), (change,) = primals, tangents
    slope = power * fractional_power(u, power - 1, -leak)
    return fractional_power(u, power, leak), slope * change


def _is_real(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating)
