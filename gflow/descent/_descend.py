"""`descend`: from a flow and a network to a descent."""

import math
import time
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from .. import _tree
from .._checks import checked_count
from .._degree import NotHomogeneousError, degree as find_degree
from .._flow import GradientFlow
from .._point import measured
from .._types import Scalar
from ._abstract import AbstractDescentMethod, Place
from ._curve import Descent


class _Sample(NamedTuple):
    """One point of a curve."""

    log_t: Scalar
    log_radius: Scalar
    direction: PyTree
    log_loss: Scalar
    weights: Float[Array, " margins"]


def descend(
    flow: GradientFlow,
    network: PyTree,
    *,
    method: AbstractDescentMethod,
    gradients: int,
    samples: int = 400,
) -> Descent:
    """Follow a discrete method down the loss of a flow, for a number of gradients.

    It starts from the same weights as `solve` and measures time in the same units. The
    network need not be homogeneous.

    Args:
        flow: Data and loss.
        network: Where to start.
        method: Such as `gflow.descent.GradientDescent(step=0.5)`.
        gradients: How many gradients of the loss to spend, one a step. One more
            evaluates the loss at the end.
        samples: About how many samples to keep, at counts spaced geometrically, beside
            the start.

    Returns:
        The curve. A descent that diverges ends at its first sample of a loss that is
        not finite, and keeps it.

    Raises:
        ValueError: If an argument cannot be used; the message names it.

    Example:
        `descend(flow, net, method=LossScaledDescent(), gradients=10_000)`
    """
    _check(flow, method, gradients=gradients, samples=samples)
    counts = np.unique(np.geomspace(1, gradients, samples).round().astype(int))
    began = time.perf_counter()
    try:
        degree = find_degree(network, flow.x)
    except NotHomogeneousError:
        degree = None
    place = _begin(flow, method, network)
    place, start = jax.block_until_ready(
        _advance(flow, method, degree, place, jnp.zeros((), int))
    )
    compile_seconds = time.perf_counter() - began

    began = time.perf_counter()
    place, spent, kept = _sampled(flow, method, degree, place, start, counts)
    run_seconds = time.perf_counter() - began
    stats = {
        "steps": int(place.steps),
        "rejected": spent[-1] - int(place.steps),
        "gradients": spent[-1],
        "compile_seconds": compile_seconds,
        "run_seconds": run_seconds,
    }
    return _curve(flow, network, degree, spent, kept, stats)


def _sampled(
    flow: GradientFlow,
    method: AbstractDescentMethod,
    degree: float | None,
    place: Place,
    start: _Sample,
    counts: Int[np.ndarray, " samples"],
) -> tuple[Place, list[int], list[_Sample]]:
    """The last place, the gradients spent, and the samples there; until it diverges."""
    spent, kept = [0], [start]
    for count in counts:
        if not math.isfinite(kept[-1].log_loss):
            break
        left = jnp.asarray(count - spent[-1])
        place, here = _advance(flow, method, degree, place, left)
        spent.append(int(count))
        # To the host: on the device the list would be stacked leaf by leaf.
        kept.append(jax.tree.map(np.asarray, here))
    return place, spent, kept


def _curve(flow, network, degree, spent: list[int], kept: list[_Sample], stats):
    """The samples as one curve."""
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *kept)
    structure = _tree.partition(network)[1]
    return Descent(  # pyright: ignore[reportCallIssue]
        gradients=jnp.asarray(np.array(spent)),
        log_t=stacked.log_t,
        log_radius=stacked.log_radius,
        direction=eqx.combine(stacked.direction, structure),
        log_loss=stacked.log_loss,
        weights=stacked.weights,
        degree=degree,
        flow=flow,
        stats=stats,
    )


def _evaluate(flow: GradientFlow, network: PyTree) -> tuple[Scalar, PyTree]:
    return eqx.filter_value_and_grad(flow.log_loss)(network)


@eqx.filter_jit
def _begin(flow: GradientFlow, method: AbstractDescentMethod, network: PyTree) -> Place:
    log_loss, slope = _evaluate(flow, network)
    never, none = jnp.full((), -jnp.inf), jnp.zeros((), int)
    place = Place(network, log_loss, slope, never, none, method.init(network))
    # Arrays that count as Python numbers (weak types) would compile `_advance` twice.
    arrays, structure = eqx.partition(place, eqx.is_array)
    strong = jax.tree.map(lambda a: jax.lax.convert_element_type(a, a.dtype), arrays)
    return eqx.combine(strong, structure)


@eqx.filter_jit
def _advance(
    flow: GradientFlow,
    method: AbstractDescentMethod,
    degree: float | None,
    place: Place,
    count: Int[Array, ""],
) -> tuple[Place, _Sample]:
    """So many steps on, and the sample there."""
    moving, structure = eqx.partition(place, eqx.is_array)

    def step(_, moving):
        here = eqx.combine(moving, structure)
        there = method.step(here, lambda network: _evaluate(flow, network))
        return eqx.filter(there, eqx.is_array)

    moving = jax.lax.fori_loop(0, count, step, moving)
    place = eqx.combine(moving, structure)
    direction, log_radius, _, weights = measured(flow, place.network, None, degree)
    direction = _tree.parameters(direction)
    return place, _Sample(place.log_t, log_radius, direction, place.log_loss, weights)


def _check(flow, method, **counts) -> None:
    if not isinstance(flow, GradientFlow):
        raise ValueError(f"`flow` must be a `gflow.GradientFlow`, but is {flow!r}.")
    if not isinstance(method, AbstractDescentMethod):
        raise ValueError(
            "`method` must be one such as `gflow.descent.GradientDescent(step=0.5)`, "
            f"but is {method!r}. (A class? Call it to make an instance.)"
        )
    for name, value in counts.items():
        checked_count(value, name)
