"""Generalized gradients of a network at its samples, as hulls of their corners.

A gradient is a polynomial of the gates, of degree one in those of each kink, so that
all its values lie in the hull of those at corners, where each kink takes one branch.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Float64, PyTree

from .. import _tree
from .._flow import AbstractFlow
from .clarke_ties import Gates, Switch, Ties, gated_value


MOST_CORNERS = 4096
"""Of one sample, where the gates of kinks in several layers act on each other."""

CHUNK = 64  # gradients at once


@dataclasses.dataclass(frozen=True)
class Hull:
    r"""The generalized gradients of one margin, a sum of convex hulls.

    Attributes:
        sample: Whose.
        base: The gradient with the gates of the exact network.
        parts: What is added to it: one row from each part, or a mixture of its rows.
            The first row of each is zero. All are tangent to the sphere, as they are at
            ties by Euler's identity, since gates do not change the margin; near ties
            what is not is dropped, lest a search for the shortest trade it for more.
        corners: The switches, and their options, that each row of each part stands for.
    """

    sample: int
    base: Float64[np.ndarray, " weights"]
    parts: list[Float64[np.ndarray, "corners weights"]]
    corners: list[list[list[tuple[Switch, int]]]]

    def farthest(
        self, direction: Float64[np.ndarray, " weights"]
    ) -> Float64[np.ndarray, " weights"]:
        """The corner that lies farthest in a direction."""
        return sum(
            (part[np.argmax(part @ direction)] for part in self.parts), self.base
        )


def find_hulls(
    flow: AbstractFlow,
    network: PyTree,
    ties: Ties,
    samples: Bool[np.ndarray, " samples"],
    cotangents: Float64[np.ndarray, "samples each rivals"],
) -> list[Hull]:
    """The generalized gradients of functions of the margins of each sample.

    Args:
        flow: The samples.
        network: Of norm one.
        ties: Its ties.
        samples: Those that are asked for.
        cotangents: The derivatives of the functions, so many a sample.
    """
    theta = np.asarray(ravel_pytree(_tree.parameters(network))[0])
    asked = np.flatnonzero(samples)
    plans = {
        int(i): _plan(ties.switches[i], bool(ties.apart[i]), int(i)) for i in asked
    }
    flips = [
        (i, flip)
        for i, plan in plans.items()
        for flip in [[], *(corner for part in plan for corner in part[1:])]
    ]
    each = range(cotangents.shape[1])
    jobs = [(i, flip, cotangents[i, k]) for i, flip in flips for k in each]
    rows = _gradients(flow, network, ties.gates, jobs)
    rows, hulls, start = rows.reshape(len(flips), len(each), -1), [], 0
    for i, plan in plans.items():
        count = 1 + sum(len(part) - 1 for part in plan)
        own = rows[start : start + count]
        start += count
        ends = np.cumsum([1, *(len(part) - 1 for part in plan)])
        for k in each:
            base, found = own[0, k], []
            for begin, end in itertools.pairwise(ends):
                change = own[begin:end, k] - base
                change -= np.outer(change @ theta, theta)
                found.append(np.vstack([0 * base, change]))
            hulls.append(Hull(i, base, found, plan))
    return hulls


def mean_gates(
    ties: Ties, hulls: Sequence[Hull], shares: Sequence[Sequence[np.ndarray]]
) -> Gates:
    """The gates that mixtures of corners have in the mean."""
    gates = [array.copy() for array in ties.gates]
    for hull, mixture in zip(hulls, shares, strict=True):
        for part, weights in zip(hull.corners, mixture, strict=True):
            for switch in {switch for corner in part for switch, _ in corner}:
                gates[switch.call][hull.sample][switch.entry] = 0.0
            for corner, weight in zip(part, weights, strict=True):
                for switch, option in corner:
                    gates[switch.call][hull.sample][switch.entry][option] += weight
    return gates


def _plan(switches: list[Switch], apart: bool, sample: int):
    """The corners of each part of a hull; the first is that of the exact network."""
    if apart:
        return [[[(one, option)] for option in one.options] for one in switches]
    count = math.prod(len(switch.options) for switch in switches)
    if count > MOST_CORNERS:
        raise ValueError(
            f"`active_tol` must leave at most {MOST_CORNERS} combinations of gates a "
            f"sample where kinks of several layers tie, but sample {sample} has "
            f"{count:.0e}. Lower it, or the `eps` of the network."
        )
    combinations = itertools.product(*(switch.options for switch in switches))
    return [[list(zip(switches, each, strict=True)) for each in combinations]]


def _gradients(flow, network, gates: Gates, jobs) -> Float64[np.ndarray, "jobs _"]:
    """Gradients with some gates flipped, `CHUNK` at once."""
    found = []
    for start in range(0, len(jobs), CHUNK):
        chunk = jobs[start : start + CHUNK]
        padded = [*chunk, *[chunk[0]] * (CHUNK - len(chunk))]
        index = np.array([i for i, _, _ in padded])
        flipped = [array[index] for array in gates]
        for row, (_, corner, _) in enumerate(padded):
            for switch, option in corner:
                flipped[switch.call][row][switch.entry] = 0.0
                flipped[switch.call][row][switch.entry][option] = 1.0
        cotangents = np.stack([cotangent for _, _, cotangent in padded])
        rows = _rows(flow, network, jnp.asarray(index), flipped, cotangents)
        found.append(np.asarray(rows)[: len(chunk)])
    return np.concatenate(found)


@eqx.filter_jit
def _rows(flow, network, index, gates, cotangents) -> Float[Array, "rows weights"]:
    """The gradients of some samples under given gates."""
    moving, still = _tree.partition(network)

    def one(i, gates, cotangent):
        def value(moving):
            whole = eqx.combine(moving, still)
            return gated_value(flow, whole, gates, flow.x[i], flow.y[i], cotangent)

        return ravel_pytree(jax.grad(value)(moving))[0]

    return jax.vmap(one)(index, gates, cotangents)
