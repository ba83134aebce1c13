"""Kinks of a network that tie at its samples: where gates are free, and matter."""

import dataclasses
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Float64, PyTree

from .. import _tree
from .._flow import AbstractFlow
from .._types import Scalar
from ..nn._tape import Kink, with_gates


OPEN = 37.0
"""Where branches differ by more widths than this, the gate of a smoothed kink is zero
or one to the last bit."""

ROUNDING = 1e-12
"""Exact kinks count as ties up to this difference of branches, at norm one."""

EFFECT = 1e-12
"""A gate that changes no derivative by more than this, relatively, is not free."""

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


def gated_value(flow, network, gates, x, y, cotangent) -> Scalar:
    """A linear function of the margins of one sample, under given gates."""
    output, _ = with_gates(network, x, gates)
    return jnp.dot(cotangent, flow.sample_margins(lambda _: output, x, y))


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
def _slopes(flow, network, gates, direction, cotangents) -> list[Array]:
    """How the derivative along a direction changes with each gate."""
    moving, still = _tree.partition(network)
    tangent = ravel_pytree(moving)[1](direction)

    def one(gates, x, y, cotangent):
        def along(gates):
            def value(moving):
                whole = eqx.combine(moving, still)
                return gated_value(flow, whole, gates, x, y, cotangent)

            return jax.jvp(value, (moving,), (tangent,))[1]

        return jax.grad(along)(gates)

    return jax.vmap(one)(gates, flow.x, flow.y, cotangents)
