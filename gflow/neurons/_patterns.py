import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from .._point import Point
from .._types import Scalar
from ..nn import MLP
from ..nn._activation import signed_power
from ..paths._rotation import direction_of


def patterns(point: Point) -> Bool[Array, "samples units"]:
    """Which hidden units each sample activates.

    Args:
        point: Of a fully connected network of `gflow.nn`.

    Returns:
        True where the input of a unit is positive, the units of all hidden layers side
        by side, the first layer first. A unit at its kink counts as inactive.

    Raises:
        ValueError: If the network is not a `gflow.nn.MLP`.

    Example:
        `curve.map(gflow.neurons.patterns)`

    References:
        Sridhar and Johansen (2025), arXiv:2505.15013, for changes of patterns.
    """
    found = _patterns(point, point.direction)
    if point.sides is None or point.sides.shape != found.shape:
        return found
    return point.sides  # at a kink the sign of u is that of its rounding


def _patterns(point: Point, network: PyTree) -> Bool[Array, "samples units"]:
    if not isinstance(network, MLP):
        raise ValueError(
            "The network must be a `gflow.nn.MLP`, whose units are known, but is "
            f"{type(network).__name__}."
        )

    def pattern(x: Float[Array, " features"]):
        layers = []
        for weight in network.weights[:-1]:
            layers.append(weight @ x)
            x = signed_power(layers[-1], network.power, network.leak)
        return jnp.concatenate(layers) > 0

    return jax.vmap(pattern)(point.flow.x)


def sliding(point: Point) -> Bool[Array, "samples units"]:
    """Which hidden units each sample holds at their kinks.

    A flow slides along a kink where both sides lead to it: the unit stays exactly
    between active and inactive on that sample.

    Args:
        point: Of a curve that `gflow.solve` returned, and of a `gflow.nn.MLP`. Of
            other points nothing is known, and they slide along none.

    Returns:
        True where a unit is slid along, ordered as by `patterns`; all False for powers
        above one, which have no kinks.

    Raises:
        ValueError: If the network is not a `gflow.nn.MLP`.

    Example:
        `curve.map(gflow.neurons.sliding).sum(axis=1)`
    """
    none = jnp.zeros_like(patterns(point))
    if point.slides is None or point.slides.size == 0:
        return none
    # One kink a unit, in this order.
    flat = jnp.append(jnp.ravel(none), False).at[point.slides].set(True)
    return flat[:-1].reshape(none.shape)


def pattern_distance(point: Point, start: Point | PyTree) -> Scalar:
    """The share of pairs of sample and unit that are active in one network alone.

    Args:
        point: Of a fully connected network of `gflow.nn`.
        start: Another point of the same structure, or a network, such as the one a flow
            starts from.

    Returns:
        A number from 0, no change, to 1.

    Raises:
        ValueError: If a network is not a `gflow.nn.MLP`.

    Example:
        `curve.map(lambda point: gflow.neurons.pattern_distance(point, start))`

    References:
        Sridhar and Johansen (2025), arXiv:2505.15013, for changes of patterns.
    """
    here = patterns(point)
    if isinstance(start, Point):
        there = patterns(dataclasses.replace(start, flow=point.flow))
    else:
        there = _patterns(point, direction_of(start))
    return jnp.mean(here != there, dtype=float)  # of booleans: else float32
