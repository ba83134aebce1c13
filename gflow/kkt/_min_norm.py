import math
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Float64, Int, PyTree

from .. import _tree
from .._checks import require_concrete
from .._field import SCALE_CAP
from .._point import Point
from .._polar import Polar, require_margins
from .._types import Scalar
from ._hulls import find_hulls, mean_gates
from ._nearest import shortest_mixture
from ._ties import find_ties


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
            $G = -\frac1n \sum_i \ell'(z_i)$ over the samples that some weight moves.
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
    point: Point, active_tol: float | None = None
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

    Samples that no weight moves have dual weights of zero in a trajectory. Those on a
    kink hold the flow back all the same: theirs follow from their margins here.

    Works on the host: `curve.map` calls it point by point.

    Args:
        point: Of a positively homogeneous network that classifies.
        active_tol: Of all kinks, each with its function $u$ that is zero on it, those
            tie where changes of all weights by this share of the size of their unit
            (neuron) may turn the sign of $u$. By default 1e-12, which is rounding.

    Returns:
        The element. NaN where `alignment` is, critical points excepted. Never longer
        than what JAX takes.

    Raises:
        ValueError: If `active_tol` is negative or NaN, as for `alignment`, or if more
            than 4096 combinations of gates act on each other at one sample.
        RuntimeError: If generalized gradients are dependent to the last digits.

    Example:
        `h = curve.map(gflow.kkt.min_norm_subgradient).element`, and then
        `curve.map(gflow.kkt.alignment, h)`.

    References:
        Clarke (1983), "Optimization and Nonsmooth Analysis". Ji and Telgarsky (2020),
        "Directional convergence and alignment in deep learning", arXiv:2006.06657, for
        its use. The method is ours.
    """
    require_concrete(point, "gflow.kkt.min_norm_subgradient")
    require_margins(point)
    checked_active_tol(active_tol)
    return _shortest(point, active_tol)


def _shortest(point: Point, active_tol: float | None) -> MinNormSubgradient:
    """The shortest sum of elements of the hulls of all samples."""
    flow, direction = point.flow, point.direction
    pull = _whole(point).reshape(flow.samples, flow.per_sample)
    theta, unravel = ravel_pytree(_tree.parameters(direction))
    known = np.all(np.isfinite(pull)) and np.all(np.isfinite(theta))
    samples = np.sum(pull, axis=1) > NEGLIGIBLE
    samples |= not known  # for shapes alone
    share = np.where(samples, np.sum(pull, axis=1), 1.0)
    ties = find_ties(point, active_tol, samples)
    cotangents = (pull / share[:, None])[:, None, :]
    hulls = find_hulls(flow, direction, ties, samples, cotangents)
    base = sum((share[hull.sample] * hull.base for hull in hulls), np.zeros(theta.size))
    parts = [share[hull.sample] * part for hull in hulls for part in hull.parts]
    shortest, shares = shortest_mixture(base, parts) if known else (base * np.nan, [])
    mixtures = iter(shares or [np.eye(len(part))[0] for part in parts])
    mixed = [[next(mixtures) for _ in hull.parts] for hull in hulls]
    return MinNormSubgradient(
        element=unravel(jnp.asarray(shortest)),
        norm=jnp.asarray(np.linalg.norm(shortest)),
        free=jnp.asarray(sum(len(group) for part in ties.groups for group in part)),
        gates=jnp.asarray(mean_gates(ties, hulls, mixed)),
    )


def _whole(point: Point) -> Float64[np.ndarray, " margins"]:
    """Dual weights of a point, those of samples that no weight moves restored.

    Such samples have weights of zero on a curve. At a kink they may pull all the same.
    """
    logs, weights = np.asarray(_logs(point)), np.asarray(point.weights)
    seen = weights > 0
    on_no_curve = bool(np.isnan(point.log_t))
    if on_no_curve or np.all(seen) or not np.any(seen):
        return weights / np.sum(weights)
    total = scipy.special.logsumexp(logs[seen])
    unseen = np.exp(np.minimum(logs - total, np.log(MOST_UNSEEN)))
    return np.where(seen, weights / np.sum(weights), unseen)


@eqx.filter_jit
def _logs(point: Point) -> Float[Array, " margins"]:
    """Logarithms of dual weights, in a unit of their own; capped as those of flows."""
    view, flow = Polar(point), point.flow
    most = math.log(SCALE_CAP) / flow.loss.tail
    scale = jnp.exp(jnp.minimum(view.log_scale, most))
    return flow.log_weights(scale * view.margins)


def checked_active_tol(active_tol: float | None) -> None:
    """Refuse a tolerance that is none."""
    if active_tol is not None and not active_tol >= 0:
        raise ValueError(
            f"`active_tol` must not be negative, but is {active_tol}. For rounding "
            "alone, pass `None`."
        )
