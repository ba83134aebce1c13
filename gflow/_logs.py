"""Sums of exponentials, as logarithms."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float


def log_mean_exp(values: Float[Array, "*shape n"]) -> Float[Array, "*shape"]:
    """The logarithm of the mean of exponentials, along the last axis.

    In a compiled program the maximum and the numbers it is taken from need not agree in
    their last bit, which is far from zero where they are 1e20: without the bounds
    `jax.nn.logsumexp` answers infinity there. The bounds are such that derivatives are
    right where they are met exactly, as `jnp.minimum` and `jnp.clip` would not be.
    """
    top = jnp.max(values, axis=-1)
    below, least = values - top[..., None], 1 / values.shape[-1]
    mean = jnp.mean(jnp.exp(jnp.where(below > 0, 0.0, below)), axis=-1)
    return top + jnp.log(jnp.where(mean < least, least, mean))


def log_sum_exp(values: Float[Array, "*shape n"]) -> Float[Array, "*shape"]:
    """The logarithm of the sum of exponentials, along the last axis."""
    if values.shape[-1] == 1:
        return values[..., 0]
    return log_mean_exp(values) + math.log(values.shape[-1])
