from collections.abc import Iterator
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from .. import _tree
from .._flow import GradientFlow
from .._trajectory import Trajectory
from .._types import Scalar
from .clarke_hulls import find_hulls, mean_gates
from .clarke_points import shortest_mixture
from .clarke_ties import find_ties
from .dual import dual_weights


NEGLIGIBLE = 1e-20
"""The gates of a sample that pulls less than this, of all, are left alone."""


class MinNormSubgradient(NamedTuple):
    r"""The shortest of all generalized gradients of the loss at one point.

    Attributes:
        element: $h = \sum_i q_i h_i$ at norm one, a tree like the parameters of the
            network. The loss has $-G r^{L-1} h$ as its shortest subgradient, with
            $G = -\frac1n \sum_i \ell'(z_i)$.
        norm: $|h|$.
        free: How many gates were free: kinks that tie at a sample, where it matters.
        gates: For each call of a kink, the shares of its branches (along the last axis)
            at each sample (along the first). Where kinks of several layers tie at one
            sample, shares in the mean over corners.
    """

    element: PyTree
    norm: Scalar
    free: Int[Array, ""]
    gates: tuple[Float[Array, "samples *shape branches"], ...]


def min_norm_subgradient(
    flow: GradientFlow,
    network: PyTree,
    active_tol: float | None = None,
    log_radius: Scalar | float | None = None,
    weights: Float[Array, " margins"] | None = None,
) -> MinNormSubgradient:
    r"""The minimum-norm element of Clarke's subdifferential, at kinks and off them.

    $$h = \arg\min \Big\{ |h| : h \in \sum_i q_i\, \partial z_i(\theta) \Big\}$$

    for the exact network (widths of kinks zero), whatever `eps` is. The flow of an
    exact network follows it: where it slides along a kink, that is neither of the two
    gradients which JAX may take. The part along the weights is $L \langle q, z
    \rangle$ for all elements by Euler's identity, which is imposed where branches tie
    only nearly; so it is also the shortest element for the smoothed margin, and the one
    that makes the smallest angle with the weights.

    $\partial z_i$ is taken as the hull of the gradients of all branches that tie at
    sample $i$. It contains Clarke's subdifferential, and equals it if all these kinks
    can be moved one by one, as in two layers if the samples that tie at one unit are
    independent. The gates of a sample act for all of its margins alike.

    A smoothed flow slides off the kink, by `eps` times the logarithm of the odds of its
    gate: so branches must count as tied up to some tens of `eps`, and answers about the
    exact network are off by $O(\epsilon)$. Too large an `active_tol` calls kinks tied
    that are not, and makes the answer too short.

    Runs on the host: no `jit`, no `Trajectory.map`. For a curve there is
    `min_norm_subgradients`.

    Args:
        flow: Data and loss.
        network: A positively homogeneous network. Its kinks are those of `gflow.nn`; of
            others it takes the derivative that JAX takes.
        active_tol: Branches that differ from the largest by at most this, at norm one
            and in units of the `scale` of their kink, tie. By default 37 `eps`, beyond
            which the gate of a smoothed kink is zero or one to the last bit, and at
            least 1e-12.
        log_radius: $\log r$, to look at the network at this norm; by default its own.
        weights: $q$, as for `alignment`; needed past $r^L = 10^{10}$.

    Returns:
        The element. NaN where `alignment` is, critical points excepted. Never longer
        than what JAX takes with exact kinks.

    Raises:
        ValueError: If `active_tol` is negative or NaN, the flow is one of regression,
            kinks stand under `vmap`, `cond` and the like inside the network, or kinks
            of several layers tie in more than 4096 combinations at one sample.
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
    if flow.kind == "targets":
        raise ValueError(
            "`flow` must have margins, but is one of regression. Pass labels and a "
            "loss such as `gflow.Logistic()`."
        )
    if weights is None:
        weights = _weights(flow, network, log_radius)
    direction = _normalized(network)
    pull = np.asarray(weights).reshape(flow.samples, flow.rivals)
    pull = pull / np.sum(pull)
    theta, unravel = ravel_pytree(_tree.parameters(direction))
    known = np.all(np.isfinite(pull)) and np.all(np.isfinite(theta))
    samples = np.sum(pull, axis=1) > NEGLIGIBLE
    samples |= not known  # for shapes alone
    share = np.where(samples, np.sum(pull, axis=1), 1.0)
    ties = find_ties(flow, direction, active_tol, samples)
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
        free=jnp.asarray(sum(map(len, ties.switches))),
        gates=tuple(map(jnp.asarray, mean_gates(ties, hulls, mixed))),
    )


def min_norm_subgradients(
    flow: GradientFlow, trajectory: Trajectory, active_tol: float | None = None
) -> MinNormSubgradient:
    """`min_norm_subgradient` at each sample of a trajectory.

    Args:
        flow: Data and loss.
        trajectory: What `gflow.solve` returned, of smoothed kinks.
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
    places = zip(
        networks_along(trajectory),
        jnp.asarray(trajectory.log_radius),
        jnp.asarray(trajectory.weights),
        strict=True,
    )
    found = [
        min_norm_subgradient(flow, network, active_tol, rho, q)
        for network, rho, q in places
    ]
    return jax.tree.map(lambda *parts: jnp.stack(parts), *found)


def networks_along(trajectory: Trajectory) -> Iterator[PyTree]:
    """The direction at each sample of a trajectory, one network after the other."""
    moving, still = _tree.partition(trajectory.direction)
    for i in range(len(trajectory.tau)):
        yield eqx.combine(jax.tree.map(lambda leaf: leaf[i], moving), still)


def checked_active_tol(active_tol: float | None) -> None:
    """Refuse a tolerance that is none."""
    if active_tol is not None and not active_tol >= 0:
        raise ValueError(
            f"`active_tol` must not be negative, but is {active_tol}. For some tens of "
            "`eps`, pass `None`."
        )


_normalized = eqx.filter_jit(_tree.normalize)
_weights = eqx.filter_jit(dual_weights)
