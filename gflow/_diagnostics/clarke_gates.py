"""Kinks of a network that tie at its samples, and the gradients of either side.

At a tie the gates of a kink are free: any shares of the tied branches. A gradient is a
polynomial of the gates, of degree one in those of each kink, so that all its values lie
in the hull of those at corners, where each kink takes one branch.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Float64, PyTree

from .. import _tree
from .._flow import AbstractFlow
from ..nn._tape import Kink, with_gates


OPEN = 37.0
"""Where branches differ by more widths than this, the gate of a smoothed kink is zero
or one to the last bit."""

ROUNDING = 1e-12
"""Exact kinks count as ties up to this difference of branches, at norm one."""

MOST_CORNERS = 4096
"""Of one sample, where the gates of kinks in several layers act on each other."""

EFFECT = 1e-12
"""A gate that changes no derivative by more than this, relatively, is not free."""

CHUNK = 64  # gradients at once

Gates = list[Float64[np.ndarray, "samples *shape branches"]]


@dataclasses.dataclass(frozen=True)
class Switch:
    """A kink whose gates are free at one sample.

    Attributes:
        call: Which call of a kink it belongs to.
        entry: Its place in the array of that call.
        options: The branches that tie; the first is that of the exact network.
    """

    call: int
    entry: tuple[int, ...]
    options: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Ties:
    """The gates of a network at its samples, and which of them are free.

    Attributes:
        gates: Those of the exact network, one array a call.
        switches: For each sample, the kinks that tie and whose gates matter.
        apart: For each sample, whether no switch changes what another one does.
    """

    gates: Gates
    switches: list[list[Switch]]
    apart: Bool[np.ndarray, " samples"]


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


def find_ties(
    flow: AbstractFlow,
    network: PyTree,
    active_tol: float | None,
    samples: Bool[np.ndarray, " samples"],
) -> Ties:
    """The ties of a network of norm one.

    Args:
        flow: The samples.
        network: Of norm one.
        active_tol: Branches within this of the largest tie, in units of the scale of
            their kink; by default `OPEN` widths, or `ROUNDING` if that is more.
        samples: Those that are looked at; others have no switches.
    """
    gates, ties = [], []
    for kink in exact_kinks(flow, network)[1]:
        branches, scale, eps = (np.asarray(part) for part in kink)
        gates.append(_one_hot(np.argmax(branches, axis=-1), branches.shape[-1]))
        floor = np.maximum(OPEN * eps, ROUNDING)
        reach = scale * (floor if active_tol is None else active_tol)
        reach = reach.reshape(-1, *(1,) * (branches.ndim - 1))
        tied = branches >= np.max(branches, axis=-1, keepdims=True) - reach
        ties.append(tied & (np.sum(tied, axis=-1, keepdims=True) > 1))
    switches: list[list[Switch]] = [[] for _ in range(flow.samples)]
    apart = np.ones(flow.samples, bool)
    if not any(np.any(tied[samples]) for tied in ties):
        return Ties(gates, switches, apart)
    # Inside of the hull a gate acts, or not, as it does almost everywhere.
    random = np.random.default_rng(0)
    size = sum(leaf.size for leaf in jax.tree.leaves(_tree.parameters(network)))
    direction = random.normal(size=size)
    cotangents = random.uniform(1, 2, (flow.samples, flow.rivals))
    slopes = [
        _slopes(flow, network, _inside(random, gates, ties), direction, cotangents)
        for _ in range(2)
    ]
    first, second = ([np.asarray(array) for array in each] for each in slopes)
    for i, call, entry in _places(ties, samples):
        options = np.flatnonzero(ties[call][i][entry])
        here = np.argmax(gates[call][i][entry])
        acts = [array[call][i][entry] for array in (first, second)]
        change = [act[options] - act[here] for act in acts]
        largest = max(np.max(np.abs(array[i])) for array in (*first, *second))
        if np.max(np.abs(change)) > EFFECT * largest:
            others = tuple(int(option) for option in options if option != here)
            switches[i].append(Switch(call, entry, (int(here), *others)))
            apart[i] &= np.max(np.abs(change[1] - change[0])) <= EFFECT * largest
    return Ties(gates, switches, apart)


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


def _inside(random: np.random.Generator, gates: Gates, ties: list) -> Gates:
    """Gates of the exact network, but random ones where there are ties."""
    found = []
    for exact, tied in zip(gates, ties, strict=True):
        shares = np.where(tied, random.uniform(1, 2, exact.shape), 0.0)
        total = np.sum(shares, axis=-1, keepdims=True)
        found.append(np.where(total > 0, shares / np.where(total > 0, total, 1), exact))
    return found


def _places(ties: list, samples) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Sample, call and entry of each tie."""
    for call, tied in enumerate(ties):
        for i, *entry in np.argwhere(np.any(tied, axis=-1)):
            if samples[i]:
                yield int(i), call, tuple(int(place) for place in entry)


def _one_hot(index: np.ndarray, count: int) -> Float64[np.ndarray, "*shape branches"]:
    return (index[..., None] == np.arange(count)).astype(float)


@eqx.filter_jit
def exact_kinks(
    flow: AbstractFlow, network: PyTree
) -> tuple[Float[Array, " margins"], list[Kink]]:
    """The margins and kinks of the exact network, with the widths of this one."""

    def one(x, y):
        _, kinks = with_gates(network, x)
        gates = [jnp.zeros_like(kink.branches) for kink in kinks]
        output, kinks = with_gates(network, x, gates)
        return flow.sample_margins(lambda _: output, x, y), kinks

    margins, kinks = jax.vmap(one)(flow.x, flow.y)
    return jnp.ravel(margins), kinks


def _value(flow, network, gates, x, y, cotangent):
    output, _ = with_gates(network, x, gates)
    return jnp.dot(cotangent, flow.sample_margins(lambda _: output, x, y))


@eqx.filter_jit
def _rows(flow, network, index, gates, cotangents) -> Float[Array, "rows weights"]:
    """The gradients of some samples under given gates."""
    moving, still = _tree.partition(network)

    def one(i, gates, cotangent):
        def value(moving):
            whole = eqx.combine(moving, still)
            return _value(flow, whole, gates, flow.x[i], flow.y[i], cotangent)

        return ravel_pytree(jax.grad(value)(moving))[0]

    return jax.vmap(one)(index, gates, cotangents)


@eqx.filter_jit
def _slopes(flow, network, gates, direction, cotangents) -> list[Array]:
    """How the derivative along a direction changes with each gate."""
    moving, still = _tree.partition(network)
    tangent = ravel_pytree(moving)[1](direction)

    def one(gates, x, y, cotangent):
        def along(gates):
            def value(moving):
                whole = eqx.combine(moving, still)
                return _value(flow, whole, gates, x, y, cotangent)

            return jax.jvp(value, (moving,), (tangent,))[1]

        return jax.grad(along)(gates)

    return jax.vmap(one)(gates, flow.x, flow.y, cotangents)
