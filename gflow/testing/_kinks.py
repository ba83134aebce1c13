"""Whether the derivatives of a network are right, and all of its kinks seen."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._gates import find_kinks_of, frozen, record
from ._differences import SLOPE_ROOM, jump_of_slope, one_sided
from ._points import Points
from ._report import require, require_close


DIRECTIONS = 3
"""How many random directions derivatives are taken along, at each weights."""

STEP = 1e-5
"""Of differences, against the norm of the weights: small, so that few kinks are in
reach, and large against rounding."""


class Gated:
    """A network whose gates are recorded, and frozen."""

    def __init__(self, points: Points):
        def call(network: PyTree, x: Array) -> Array:
            return network(x)

        first = points.network(points.rows[-1][1])
        try:
            kinks = find_kinks_of(call, first, jnp.asarray(points.x))
        except ValueError as error:
            raise AssertionError(
                f"`network` must have kinks that gflow can read, but: {error}"
            ) from error

        def gates(w):
            net = points.network(w)
            return jax.vmap(lambda x: record(call, kinks, net, x)[1])(points.x)

        def outputs(w, gates):
            net = points.network(w)
            each = jax.vmap(lambda g, x: frozen(call, kinks, g, net, x)[0])
            return each(gates, points.x)

        self.count = kinks.count
        self.gates = jax.jit(gates)
        self.both = jax.jit(
            lambda w, along, gates: jax.jvp(lambda w: outputs(w, gates), (w,), (along,))
        )


def check_kinks(points: Points) -> None:
    """Derivatives, free and at frozen gates, against differences; and unseen kinks."""
    gated = Gated(points)
    random = np.random.default_rng(1)
    for kind, w in points.rows:
        gates = gated.gates(w)
        size = np.linalg.norm(w)
        value, _ = gated.both(w, w, gates)
        plain = np.asarray(points.outputs(w))
        largest = np.max(np.abs(plain))
        law = "`network` must be itself at the gates that it chooses"
        where = _where(kind)
        require_close(value, plain, 1e-11 * largest, law, where)
        for _ in range(DIRECTIONS):
            along = random.standard_normal(w.size)
            along *= size / np.linalg.norm(along)
            _check_slope(points, gated, kind, w, along)
    for (_, first), (_, last) in itertools.pairwise(points.rows):
        _check_line(gated, first, last)


def _check_slope(
    points: Points, gated: Gated, kind: str, w: np.ndarray, along: np.ndarray
) -> None:
    """One directional derivative, from a side on which no gate changes."""

    def moved(at):
        return np.stack([np.asarray(points.outputs(w + u * along)) for u in at[:, 0]])

    gates = gated.gates(w)
    before, after, rounding = one_sided(moved, np.zeros((1, 1)), 0, STEP)
    sides = []
    for slope, sign in ((before[0], -1), (after[0], 1)):
        there = [gated.gates(w + sign * k * STEP * along) for k in (1, 2)]
        if all(bool(jnp.all(each == gates)) for each in there):
            sides.append(slope)
    if not sides:  # kinks on both sides of here
        return
    by_jax = np.asarray(points.derivative(w, along))
    at_gates = np.asarray(gated.both(w, along, gates)[1])
    size = np.max(np.abs(by_jax)) + np.max(np.abs(sides[0]))
    where = _where(kind)
    for found, law in (
        (by_jax, "The derivative of `network` by JAX must be that of differences"),
        (at_gates, "The derivative at frozen gates must be that of differences"),
    ):
        nearest = min(sides, key=lambda slope: np.max(np.abs(slope - found)))
        require_close(found, nearest, SLOPE_ROOM * size + rounding[0], law, where)


def _check_line(gated: Gated, first: np.ndarray, last: np.ndarray) -> None:
    """At frozen gates, the derivative along a line does not jump."""
    along = last - first
    gates = gated.gates(first)

    def slope(u):
        return np.asarray(gated.both(first + u * along, along, gates)[1])

    at, jump = jump_of_slope(slope, 0.0, 1.0)
    law = (
        "`network` must have no kinks but those that gflow sees (of comparisons, "
        "maxima and absolute values)"
    )
    found = (
        f"its derivative jumps by {jump:.2g} of itself while all {gated.count} gates "
        f"are frozen, {at:.4g} of the way between two random weights"
    )
    require(jump == 0, law, found)


def _where(kind: str):
    return lambda at: f"at {kind} weights on sample {at[0]}"
