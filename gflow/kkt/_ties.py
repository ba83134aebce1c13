"""Kinks of a network that tie at its samples: where gates are free, and matter."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.csgraph
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Float64

from .. import _tree
from .._gates import Kinks, frozen, record
from .._point import Point
from .._types import Scalar
from .._units import Units, find_units


ROUNDING = 1e-12
"""A kink ties if a change of all weights by this, relative to their units, may turn
it."""

EFFECT = 1e-12
"""A gate that changes no derivative by more than this, relatively, is not free."""

DIRECTIONS = 8
"""Random changes of all weights, by which terms that cancel in u are seen."""

CHUNK = 64  # gates at once


@dataclasses.dataclass(frozen=True)
class Ties:
    """The gates of a network at its samples, and which of them are free.

    Attributes:
        kinks: Those of one sample.
        gates: Those of the network as it is.
        groups: For each sample the kinks that tie and whose gates matter, those
            together whose gates change what the others of the group do.
    """

    kinks: Kinks
    gates: Bool[np.ndarray, "samples kinks"]
    groups: list[list[tuple[int, ...]]]


def find_ties(
    point: Point, active_tol: float | None, samples: Bool[np.ndarray, " samples"]
) -> Ties:
    """The ties of a network.

    Args:
        point: The network, the samples, and what is known to be slid along: that ties.
        active_tol: A kink ties if u is at most this share of what changes of all
            weights by the norms of their units do to it; by default `ROUNDING`.
        samples: Those that are looked at; others have no ties.
    """
    flow, network, kinks = point.flow, point.direction, point.known_kinks()
    groups: list[list[tuple[int, ...]]] = [[] for _ in range(flow.samples)]
    random = np.random.default_rng(0)
    size = sum(leaf.size for leaf in jax.tree.leaves(_tree.parameters(network)))
    directions = random.normal(size=(DIRECTIONS, size))
    found = _kink_values(flow, network, kinks, find_units(network), directions)
    gates, u, terms = (np.asarray(part) for part in found)
    tol = ROUNDING if active_tol is None else active_tol
    tied = np.abs(u) <= tol * terms
    if point.slides is not None:
        numbers = np.asarray(point.slides)
        tied.ravel()[numbers[numbers >= 0]] = True
    tied = tied & samples[:, None]
    if not np.any(tied):
        return Ties(kinks, gates, groups)
    # Inside of the hull a gate acts, or not, as it does almost everywhere.
    direction = directions[0]
    cotangents = random.uniform(1, 2, (flow.samples, flow.per_sample))
    inside = [
        np.where(tied, random.uniform(0.2, 0.8, tied.shape), gates) for _ in range(2)
    ]
    first, second = (
        np.asarray(_slopes(flow, network, kinks, each, direction, cotangents))
        for each in inside
    )
    largest = EFFECT * np.max(np.maximum(np.abs(first), np.abs(second)), axis=1)
    free = tied & (np.maximum(np.abs(first), np.abs(second)) > largest[:, None])
    moved = free & (np.abs(second - first) > largest[:, None])
    places = np.argwhere(moved)
    turns = _turns(flow, network, kinks, inside[0], direction, cotangents, places)
    for i in np.flatnonzero(np.any(free, axis=1)):
        own, here = np.flatnonzero(free[i]), places[:, 0] == i
        coupled = np.zeros((own.size, own.size), bool)
        acting = np.searchsorted(own, places[here, 1])
        coupled[acting] = np.abs(turns[here][:, own]) > largest[i]
        groups[i] = _connected(coupled, own)
    return Ties(kinks, gates, groups)


def gated_value(flow, network, kinks: Kinks, gates, x, y, cotangent) -> Scalar:
    """A linear function of the margins of one sample, under given gates."""
    margins, _ = frozen(flow.sample_margins, kinks, gates, network, x, y)
    return jnp.dot(cotangent, margins)


@eqx.filter_jit
def _kink_values(flow, network, kinks: Kinks, units: Units, directions):
    """For each sample and kink: the gate, u, and the size of the terms of u."""
    moving, still = _tree.partition(network)
    theta, unravel = ravel_pytree(moving)
    _, sizes = units.assign(theta)

    def one(x, y):
        _, gates, u = record(flow.sample_margins, kinks, network, x, y)

        def values(theta):
            whole = eqx.combine(unravel(theta), still)
            return frozen(flow.sample_margins, kinks, gates, whole, x, y)[1]

        def change(direction):
            return jax.jvp(values, (theta,), (direction * sizes,))[1]

        changes = jax.lax.map(change, directions)
        return gates, u, jnp.sqrt(jnp.mean(changes**2, axis=0))

    return jax.vmap(one)(flow.x, flow.y)


def _along(flow, network, kinks, direction, x, y, cotangent):
    """The derivative along a direction, as a function of the gates."""
    moving, still = _tree.partition(network)
    tangent = ravel_pytree(moving)[1](direction)

    def slope(gates):
        def value(moving):
            whole = eqx.combine(moving, still)
            return gated_value(flow, whole, kinks, gates, x, y, cotangent)

        return jax.jvp(value, (moving,), (tangent,))[1]

    return slope


@eqx.filter_jit
def _slopes(
    flow, network, kinks: Kinks, gates, direction, cotangents
) -> Float[Array, "samples kinks"]:
    """How the derivative along a direction changes with each gate."""

    def one(gates, x, y, cotangent):
        slope = _along(flow, network, kinks, direction, x, y, cotangent)
        return jax.grad(slope)(gates)

    return jax.vmap(one)(jnp.asarray(gates, float), flow.x, flow.y, cotangents)


def _turns(
    flow, network, kinks, gates, direction, cotangents, places
) -> Float64[np.ndarray, "places kinks"]:
    """How these changes themselves change with some gates, `CHUNK` at once."""
    found = [np.zeros((0, gates.shape[1]))]
    for start in range(0, len(places), CHUNK):
        chunk = places[start : start + CHUNK]
        padded = np.concatenate([chunk, np.repeat(chunk[:1], CHUNK - len(chunk), 0)])
        rows = _turn_rows(flow, network, kinks, gates, direction, cotangents, padded)
        found.append(np.asarray(rows)[: len(chunk)])
    return np.concatenate(found)


@eqx.filter_jit
def _turn_rows(flow, network, kinks: Kinks, gates, direction, cotangents, places):
    def one(place):
        i, kink = place
        some = (flow.x[i], flow.y[i], jnp.asarray(cotangents)[i])
        slope = _along(flow, network, kinks, direction, *some)
        own = jnp.asarray(gates, float)[i]
        turn = jnp.zeros_like(own).at[kink].set(1.0)
        return jax.jvp(jax.grad(slope), (own,), (turn,))[1]

    return jax.vmap(one)(jnp.asarray(places))


def _connected(coupled: Bool[np.ndarray, "some some"], names) -> list[tuple[int, ...]]:
    """The connected parts of a graph, by the names of its nodes."""
    count, part = scipy.sparse.csgraph.connected_components(coupled, directed=False)
    parts: list[list[int]] = [[] for _ in range(count)]
    for name, where in zip(names, part, strict=True):
        parts[where].append(int(name))
    return [tuple(part) for part in parts]
