"""When on a step a kink function changes its sign."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _log_time


LOOKS = 16
"""At so many places of a step kinks are looked at."""

HALVINGS = 30
"""Of the interval between two of them in which a kink is passed."""

_TO_POWERS = np.linalg.inv(np.vander(_log_time.NODES, 5, increasing=True))


def through_quarters(fractions: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 5"]:
    """From values at the quarters to those of their quartic at these fractions."""
    return np.vander(fractions, 5, increasing=True) @ _TO_POWERS


_AT_LOOKS = through_quarters(np.linspace(0, 1, LOOKS + 1))


def any_passage(right: Float[Array, "5 *kinks"]) -> Array:
    """Whether any of these values at the quarters is negative after the start."""
    return jnp.any(jnp.tensordot(_AT_LOOKS[1:], right, 1) < 0)


def passages(right: Float[Array, "5 *kinks"]) -> tuple[Array, Array]:
    """From which fraction and to which values at the quarters are negative, or inf."""
    shape = right.shape[1:]
    right = right.reshape(right.shape[0], -1)
    looks = jnp.tensordot(_AT_LOOKS, right, 1).at[-1].set(right[-1])
    powers = jnp.tensordot(_TO_POWERS, right, 1)
    below, index = looks[1:] < 0, np.arange(LOOKS)[:, None]

    def zero(after, falls):
        """Between two looks, by bisection."""

        def halve(_, ends):
            low, high = ends
            middle = (low + high) / 2
            value = powers[4]
            for power in powers[3::-1]:
                value = value * middle + power
            early = (value >= 0) == falls
            return jnp.where(early, middle, low), jnp.where(early, high, middle)

        ends = after / LOOKS, (after + 1) / LOOKS
        return jax.lax.fori_loop(0, HALVINGS, halve, ends)[1]

    into = jnp.argmax(below, axis=0)
    since = jnp.where((into == 0) & (looks[0] < 0), 0.0, zero(into, True))
    since = jnp.where(jnp.any(below, axis=0), since, jnp.inf)
    later = ~below & (index > into[None])
    ends = jnp.any(later, axis=0) & ~below[-1] & jnp.any(below, axis=0)
    until = jnp.where(ends, zero(jnp.argmax(later, axis=0), False), jnp.inf)
    return since.reshape(shape), until.reshape(shape)
