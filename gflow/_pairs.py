r"""Which axes of two arrays carry the same neurons, told by trial.

Where each neuron is a product of weights of two arrays, as $a_j \sigma(w_j x)$ with a
ReLU, $\langle w_j, \partial_{w_j} f \rangle = a_j \partial_{a_j} f$ for each $j$, at
all weights. By this law the flow keeps $|w_j|^2 - a_j^2$; here it tells who belongs
together in a network that does not say so. With $\sigma^p$ the first is $p$ times the
second. Neurons with biases, or of three arrays, are not found.

References:
    Du, Hu and Lee (2018), "Algorithmic Regularization in Learning Deep Homogeneous
    Models: Layers are Automatically Balanced", arXiv:1806.00900, for the law.
"""

import itertools
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from . import _tree
from ._compile import compiled


DRAWS = 3
"""Networks at random at which the law is tried."""

SAMPLES = 16
"""Inputs at which it is tried, at most."""

EXACT = 1e-9
"""How exactly it must hold: to rounding, or it fails by far more."""


class Axis(NamedTuple):
    """An axis of an array of weights, by its number and that of the array."""

    array: int
    axis: int


def find_pairs(
    network: PyTree, x: Float[Array, "samples *features"], power: float = 1.0
) -> list[tuple[Axis, Axis]]:
    """The axes of a network that carry the same neurons, that of the power first.

    An axis that could belong to several others belongs to none.

    Args:
        network: The network, of degree one more than the power.
        x: Inputs.
        power: The degree of neurons in the weights of the first.
    """
    weights, still = _tree.partition(network)
    arrays = jax.tree.leaves(weights)
    every = [Axis(k, i) for k, a in enumerate(arrays) for i in range(min(a.ndim, 2))]
    axes = [axis for axis in every if arrays[axis.array].size > 0]
    alike = [
        (one, other)
        for one, other in itertools.permutations(axes, 2)
        if (one < other or power != 1)
        and one.array != other.array
        and arrays[one.array].shape[one.axis] == arrays[other.array].shape[other.axis]
    ]
    if not alike:
        return []
    random = np.random.default_rng(0)

    def draw(leaf):
        inputs = max(1, math.prod(leaf.shape[1:] or leaf.shape))
        return random.standard_normal((DRAWS, *leaf.shape)) / math.sqrt(inputs)

    picked = np.unique(np.linspace(0, len(x) - 1, SAMPLES).round().astype(int))
    found = compiled(_shares)(jax.tree.map(draw, weights), still, x[picked])
    shares = dict(zip(every, map(np.asarray, found), strict=True))
    pairs = [
        (one, other)
        for one, other in alike
        if _equal(shares[one], power * shares[other])
    ]
    several = [axis for axis in axes if sum(axis in pair for pair in pairs) > 1]
    return [pair for pair in pairs if not {*pair} & {*several}]


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    size = np.max(np.abs(one))
    return bool(size > 0 and np.all(np.abs(one - other) <= EXACT * size))


def _shares(
    draws: PyTree, still: PyTree, x: Float[Array, "samples *features"]
) -> list[Float[Array, "draws size"]]:
    """What each slice of an array gives to an output at random, axis by axis."""

    def one(weights):
        def outputs(weights):
            return jax.vmap(eqx.combine(weights, still))(x)

        values, pullback = jax.vjp(outputs, weights)
        part = np.random.default_rng(1).standard_normal(values.shape)
        (slope,) = pullback(jnp.asarray(part))
        products = jax.tree.leaves(jax.tree.map(jnp.multiply, weights, slope))
        return [
            jnp.sum(product, axis=[k for k in range(product.ndim) if k != axis])
            for product in products
            for axis in range(min(product.ndim, 2))
        ]

    return jax.lax.map(one, draws)
