from collections.abc import Iterator
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Float64, Int, PyTree

from .. import _tree
from .._flow import GradientFlow
from .._gates import Kinks
from .._trajectory import Trajectory
from .._types import Scalar
from .clarke_hulls import find_hulls, mean_gates
from .clarke_points import shortest_mixture
from .clarke_ties import find_ties, kinks_of
from .dual import dual_weights
from .polar import LOG_CAP, Polar


NEGLIGIBLE = 1e-20
"""The gates of a sample that pulls less than this, of all, are left alone."""

MOST_UNSEEN = 1e3
"""The most dual weight of a sample that no weight moves, in units of all others: at a
margin of zero it is without bounds, and the pulls of the others must keep digits."""


class MinNormSubgradient(NamedTuple):
    r"""The shortest of all generalized gradients of the loss at one point.

    Attributes:
        element: $h = \sum_i q_i h_i$ at norm one, a tree like the parameters of the
            network. The loss has $-G r^{L-1} h$ as its shortest subgradient, with
            $G = -\frac1n \sum_i \ell'(z_i)$.
        norm: $|h|$.
        free: How many gates were free: kinks that tie at a sample, where it matters.
        gates: For each kink of each sample the share of its first case, that of $u > 0$
            (an active ReLU); zero or one but at ties. Where the gates of a sample act
            on each other, as in several layers, in the mean over corners.
    """

    element: PyTree
    norm: Scalar
    free: Int[Array, ""]
    gates: Float[Array, "samples kinks"]


def min_norm_subgradient(
    flow: GradientFlow,
    network: PyTree,
    active_tol: float | None = None,
    log_radius: Scalar | float | None = None,
    weights: Float[Array, " margins"] | None = None,
) -> MinNormSubgradient:
    r"""The minimum-norm element of Clarke's subdifferential, at kinks and off them.

    $$h = \arg\min \Big\{ |h| : h \in \sum_i q_i\, \partial z_i(\theta) \Big\}$$

    The flow follows it: where it slides along a kink, that is neither of the two
    gradients which JAX may take. The part along the weights is $L \langle q, z
    \rangle$ for all elements by Euler's identity, which is imposed where kinks tie only
    nearly; so it is also the shortest element for the smoothed margin, and the one that
    makes the smallest angle with the weights.

    $\partial z_i$ is taken as the hull of the gradients at all gates of the kinks that
    tie at sample $i$. It contains Clarke's subdifferential, and equals it if all these
    kinks can be moved one by one, as in two layers if the samples that tie at one unit
    are independent. The gates of a sample act for all of its margins alike.

    Too large an `active_tol` calls kinks tied that are not, and makes the answer too
    short.

    Runs on the host: no `jit`, no `Trajectory.map`. For a curve there is
    `min_norm_subgradients`.

    Args:
        flow: Data and loss.
        network: A positively homogeneous network.
        active_tol: Of all kinks, each with its function $u$ that is zero on it, those
            tie where changes of all weights by this share of the size of their unit
            (neuron) may turn the sign of $u$. By default 1e-12, which is rounding.
        log_radius: $\log r$, to look at the network at this norm; by default its own.
        weights: $q$, as for `alignment`; needed past $r^L = 10^{10}$.

    Returns:
        The element. NaN where `alignment` is, critical points excepted. Never longer
        than what JAX takes.

    Raises:
        ValueError: If `active_tol` is negative or NaN, the flow is one of regression,
            `network` has kinks that `solve` refuses, or more than 4096 combinations of
            gates that act on each other at one sample.
        RuntimeError: If generalized gradients are dependent to the last digits.

    Example:
        `h = gflow.min_norm_subgradient(flow, network).element`, and then
        `gflow.alignment(flow, network, subgradient=h)`.

    References:
        Clarke (1983), "Optimization and Nonsmooth Analysis". Ji and Telgarsky (2020),
        "Directional convergence and alignment in deep learning", arXiv:2006.06657, for
        its use. The method is ours.
    """
    checked_active_tol(active_tol)
    _require_margins(flow)
    if weights is None:
        weights = _weights(flow, network, log_radius)
    pull = np.asarray(weights) / np.sum(weights)
    return _shortest(flow, network, kinks_of(flow, network), active_tol, pull)


def _require_margins(flow: GradientFlow) -> None:
    if flow.kind == "targets":
        raise ValueError(
            "`flow` must have margins, but is one of regression. Pass labels and a "
            "loss such as `gflow.Logistic()`."
        )


def _shortest(
    flow: GradientFlow,
    network: PyTree,
    kinks: Kinks,
    active_tol: float | None,
    pull: Float64[np.ndarray, " margins"],
) -> MinNormSubgradient:
    """`min_norm_subgradient` of a network whose kinks are known, for given weights."""
    direction = _normalized(network)
    pull = pull.reshape(flow.samples, flow.rivals)
    theta, unravel = ravel_pytree(_tree.parameters(direction))
    known = np.all(np.isfinite(pull)) and np.all(np.isfinite(theta))
    samples = np.sum(pull, axis=1) > NEGLIGIBLE
    samples |= not known  # for shapes alone
    share = np.where(samples, np.sum(pull, axis=1), 1.0)
    ties = find_ties(flow, direction, kinks, active_tol, samples)
    cotangents = (pull / share[:, None])[:, None, :]
    hulls = find_hulls(flow, direction, ties, samples, cotangents)
    base = sum((share[hull.sample] * hull.base for hull in hulls), np.zeros(theta.size))
    parts = [share[hull.sample] * part for hull in hulls for part in hull.parts]
    point, shares = shortest_mixture(base, parts) if known else (base * np.nan, [])
    mixtures = iter(shares or [np.eye(len(part))[0] for part in parts])
    mixed = [[next(mixtures) for _ in hull.parts] for hull in hulls]
    return MinNormSubgradient(
        element=unravel(jnp.asarray(point)),
        norm=jnp.asarray(np.linalg.norm(point)),
        free=jnp.asarray(sum(len(group) for part in ties.groups for group in part)),
        gates=jnp.asarray(mean_gates(ties, hulls, mixed)),
    )


def min_norm_subgradients(
    flow: GradientFlow, trajectory: Trajectory, active_tol: float | None = None
) -> MinNormSubgradient:
    """`min_norm_subgradient` at each sample of a trajectory.

    Samples that no weight moves have dual weights of zero in a trajectory. Those on a
    kink hold the flow back all the same: here they follow from their margins.

    Args:
        flow: Data and loss.
        trajectory: What `gflow.solve` returned.
        active_tol: As for `min_norm_subgradient`.

    Returns:
        The elements, each array with a leading time axis.

    Raises:
        ValueError: As for `min_norm_subgradient`.
        RuntimeError: As for `min_norm_subgradient`.

    Example:
        `trajectory.map(lambda net, rho, q, h: gflow.alignment(flow, net, rho, q, h),
        trajectory.log_radius, trajectory.weights, elements)`, with `elements =
        gflow.min_norm_subgradients(flow, trajectory).element`
    """
    checked_active_tol(active_tol)
    _require_margins(flow)
    networks = list(networks_along(trajectory))
    kinks = kinks_of(flow, networks[0])
    places = zip(
        networks,
        jnp.asarray(trajectory.log_radius),
        jnp.asarray(trajectory.weights),
        strict=True,
    )
    found = [
        _shortest(flow, network, kinks, active_tol, _whole(flow, network, rho, q))
        for network, rho, q in places
    ]
    return jax.tree.map(lambda *parts: jnp.stack(parts), *found)


def _whole(flow, network, log_radius, weights) -> Float64[np.ndarray, " margins"]:
    """Dual weights of a trajectory, those of samples that no weight moves restored.

    Such samples have weights of zero there. At a kink they may pull all the same.
    """
    logs, weights = map(np.asarray, (_logs(flow, network, log_radius), weights))
    seen = weights > 0
    if np.all(seen) or not np.any(seen):
        return weights / np.sum(weights)
    total = scipy.special.logsumexp(logs[seen])
    unseen = np.exp(np.minimum(logs - total, np.log(MOST_UNSEEN)))
    return np.where(seen, weights / np.sum(weights), unseen)


@eqx.filter_jit
def _logs(flow, network, log_radius) -> Float[Array, " margins"]:
    """Logarithms of dual weights, in a unit of their own; capped as those of flows."""
    view = Polar(flow, network, log_radius)
    scale = jnp.exp(jnp.minimum(view.log_scale, LOG_CAP / flow.loss.tail))
    return flow.log_weights(scale * view.margins)


def networks_along(trajectory: Trajectory) -> Iterator[PyTree]:
    """The direction at each sample of a trajectory, one network after the other."""
    moving, still = _tree.partition(trajectory.direction)
    for i in range(len(trajectory.tau)):
        yield eqx.combine(jax.tree.map(lambda leaf: leaf[i], moving), still)


def checked_active_tol(active_tol: float | None) -> None:
    """Refuse a tolerance that is none."""
    if active_tol is not None and not active_tol >= 0:
        raise ValueError(
            f"`active_tol` must not be negative, but is {active_tol}. For rounding "
            "alone, pass `None`."
        )


_normalized = eqx.filter_jit(_tree.normalize)
_weights = eqx.filter_jit(dual_weights)
