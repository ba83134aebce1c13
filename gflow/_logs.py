"""Sums of exponentials, as logarithms."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float


def log_mean_exp(values: Float[Array, "*shape n"]) -> Float[Array, "*shape"]:
    """The logarithm of the mean of exponentials, along the last axis.

    In a compiled program the maximum and the numbers it is taken from need not agree in
    their last bit, which is far from zero where they are 1e20: without the bounds
    `jax.nn.logsumexp` answers infinity there.
    """
    top = jnp.max(values, axis=-1)
    terms = jnp.exp(jnp.minimum(values - top[..., None], 0.0))
    return top + jnp.log(jnp.clip(jnp.mean(terms, axis=-1), 1 / values.shape[-1], 1.0))


def log_sum_exp(values: Float[Array, "*shape n"]) -> Float[Array, "*shape"]:
    """The logarithm of the sum of exponentials, along the last axis."""
    return log_mean_exp(values) + math.log(values.shape[-1])
