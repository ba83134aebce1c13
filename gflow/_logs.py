"""Sums of exponentials, as logarithms."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def log_mean_exp(values: Float[Array, "*shape n"]) -> Float[Array, "*shape"]:
    """The logarithm of the mean of exponentials, along the last axis.

    In a compiled program the maximum and the numbers it is taken from need not agree in
    their last bit, which is far from zero where they are 1e20: without the bounds
    `jax.nn.logsumexp` answers infinity there. Nor does a derivative pass through the
    maximum or the bounds: that of the maximum is 0 / 0 where none of the numbers is
    equal to it to the last bit.
    """
    top = jax.lax.stop_gradient(jnp.max(values, axis=-1))
    nothing = top == -jnp.inf
    top = jnp.where(nothing, 0.0, top)  # else there is no number to subtract
    below, least = values - top[..., None], 1 / values.shape[-1]
    mean = jnp.mean(jnp.exp(below - _excess(below)), axis=-1)
    found = jnp.log(mean + _excess(jnp.where(nothing, 0.0, least - mean)))
    return top + found


def _excess(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """How far values are above zero, as a constant for derivatives."""
    return jax.lax.stop_gradient(jnp.where(values > 0, values, 0.0))


def log_sum_exp(values: Float[Array, "*shape n"]) -> Float[Array, "*shape"]:
    """The logarithm of the sum of exponentials, along the last axis."""
    if values.shape[-1] == 1:
        return values[..., 0]
    return log_mean_exp(values) + math.log(values.shape[-1])
