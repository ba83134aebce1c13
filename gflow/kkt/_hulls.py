"""Generalized gradients of a network at its samples, as hulls of their corners.

At ties a gradient is a polynomial of the gates, of degree one in each, so that all its
values lie in the hull of those at corners, where each gate is off or on. Gates that do
not act on each other stand in different terms: the hull is a sum of one for each group.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Float64, PyTree

from .. import _tree
from .._flow import AbstractFlow
from .._gates import Kinks
from ._ties import CHUNK, Ties, gated_value


MOST_CORNERS = 4096
"""Of one sample, where gates act on each other, as those of several layers do."""

Flip = tuple[int, ...]
"""Kinks whose gates are not those of the network."""


@dataclasses.dataclass(frozen=True)
class Hull:
    r"""The generalized gradients of one margin, a sum of convex hulls.

    Attributes:
        sample: Whose.
        base: The gradient with the gates of the network.
        parts: What is added to it: one row from each part, or a mixture of its rows.
            The first row of each is zero. All are tangent to the sphere, as they are at
            ties by Euler's identity, since gates do not change the margin; near ties
            what is not is dropped, lest a search for the shortest trade it for more.
        corners: The kinks whose gates are flipped in each row of each part.
    """

    sample: int
    base: Float64[np.ndarray, " weights"]
    parts: list[Float64[np.ndarray, "corners weights"]]
    corners: list[list[Flip]]

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
    cotangents: Float64[np.ndarray, "samples each per_sample"],
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
    plans = {int(i): _plan(ties.groups[i], int(i)) for i in asked}
    flips = [
        (i, flip)
        for i, plan in plans.items()
        for flip in [(), *(corner for part in plan for corner in part[1:])]
    ]
    each = range(cotangents.shape[1])
    jobs = [(i, flip, cotangents[i, k]) for i, flip in flips for k in each]
    rows = _gradients(flow, network, ties, jobs)
    rows, hulls, start = rows.reshape(len(flips), len(each), -1), [], 0
    for i, plan in plans.items():
        count = 1 + sum(len(part) - 1 for part in plan)
        own = rows[start : start + count]
        start += count
        ends = np.cumsum([1, *(len(part) - 1 for part in plan)])
        for k in each:
            base, found, corners = own[0, k], [], []
            for part, (begin, end) in zip(plan, itertools.pairwise(ends), strict=True):
                change = own[begin:end, k] - base
                change -= np.outer(change @ theta, theta)
                rows_of, kept = _distinct(np.vstack([0 * base, change]))
                found.append(rows_of)
                corners.append([part[row] for row in kept])
            hulls.append(Hull(i, base, found, corners))
    return hulls


def mean_gates(
    ties: Ties, hulls: Sequence[Hull], shares: Sequence[Sequence[np.ndarray]]
) -> Float64[np.ndarray, "samples kinks"]:
    """The gates that mixtures of corners have in the mean."""
    gates = ties.gates.astype(float)
    for hull, mixture in zip(hulls, shares, strict=True):
        for part, weights in zip(hull.corners, mixture, strict=True):
            for corner, weight in zip(part, weights, strict=True):
                for kink in corner:
                    flipped = not ties.gates[hull.sample, kink]
                    gates[hull.sample, kink] += weight if flipped else -weight
    return gates


def _plan(groups: list[Flip], sample: int) -> list[list[Flip]]:
    """The corners of each part of a hull; the first is that of the network."""
    most = max((len(group) for group in groups), default=0)
    if 2**most > MOST_CORNERS:
        raise ValueError(
            f"`active_tol` must leave at most {MOST_CORNERS} combinations of gates a "
            f"sample that act on each other, such as those of kinks in several layers, "
            f"but sample {sample} has {2.0**most:.0e}. Lower it."
        )
    return [list(_subsets(group)) for group in groups]


def _subsets(group: Flip) -> Iterator[Flip]:
    sizes = range(len(group) + 1)
    return (some for size in sizes for some in itertools.combinations(group, size))


def _distinct(
    rows: Float64[np.ndarray, "rows weights"],
) -> tuple[Float64[np.ndarray, "fewer weights"], list[int]]:
    """Rows without copies, and which: a gate may hide what another one does."""
    first: dict[bytes, int] = {}
    for number, row in enumerate(rows + 0.0):  # of one zero
        first.setdefault(row.tobytes(), number)
    kept = list(first.values())
    return rows[kept], kept


def _gradients(flow, network, ties: Ties, jobs) -> Float64[np.ndarray, "jobs _"]:
    """Gradients with some gates flipped, `CHUNK` at once."""
    found = []
    for start in range(0, len(jobs), CHUNK):
        chunk = jobs[start : start + CHUNK]
        padded = [*chunk, *[chunk[0]] * (CHUNK - len(chunk))]
        index = np.array([i for i, _, _ in padded])
        gates = ties.gates[index]
        for row, (_, corner, _) in enumerate(padded):
            gates[row, list(corner)] ^= True
        cotangents = np.stack([cotangent for _, _, cotangent in padded])
        rows = _rows(flow, network, ties.kinks, jnp.asarray(index), gates, cotangents)
        found.append(np.asarray(rows)[: len(chunk)])
    return np.concatenate(found)


@eqx.filter_jit
def _rows(
    flow, network, kinks: Kinks, index, gates, cotangents
) -> Float[Array, "rows weights"]:
    """The gradients of some samples under given gates."""
    moving, still = _tree.partition(network)

    def one(i, gates, cotangent):
        def value(moving):
            whole = eqx.combine(moving, still)
            x, y = flow.x[i], flow.y[i]
            return gated_value(flow, whole, kinks, gates, x, y, cotangent)

        return ravel_pytree(jax.grad(value)(moving))[0]

    return jax.vmap(one)(index, gates, cotangents)
