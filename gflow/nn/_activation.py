import jax.numpy as jnp
from jaxtyping import Array, Float


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
    # A fractional power has infinite derivatives at zero, which must not be formed.
    size = jnp.where(u == 0, 1.0, jnp.abs(u))
    sign = jnp.where(u > 0, 1.0, jnp.where(u < 0, -leak, 0.0))
    return sign * size**power
