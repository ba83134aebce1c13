import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .. import _tree
from .._point import Point
from .._polar import Polar
from .._types import Scalar
from ..norms import AbstractNorm
from ..norms._ready import Sizes, norm_of


def in_norm(point: Point, norm: str | AbstractNorm) -> Scalar:
    r"""The smallest margin of a network scaled to norm one, in any norm of its weights.

    $$\min_i z_i(w) / \|w\|^L$$

    with the norm as it is named, not smoothed. It does not depend on the scale of the
    weights, nor on the norm in which the flow is steepest.

    Args:
        point: Of a positively homogeneous network that classifies.
        norm: `"l2"`, `"linf"`, `"l1"`, `"spectral"` or your own, as for
            `gflow.SteepestFlow`.

    Returns:
        A scalar, positive if and only if every sample is classified correctly.

    Raises:
        ValueError: If `norm` is none, or as for `normalized`.

    Example:
        `gflow.margins.in_norm(curve[-1], "linf")`

    References:
        Tsilivis, Vardi and Kempe (2025), arXiv:2410.22069, where it is written
        $\gamma$.
    """
    polar = Polar(point)
    measure = norm_of(norm, _sizes(point.direction))
    size = _size(measure, polar.direction)
    return jnp.min(polar.margins) / size**polar.degree


def steepest(point: Point) -> Scalar:
    r"""The smoothed margin in the very norm in which the flow is steepest.

    $$\tilde\gamma = \alpha / \|w\|_\delta^L, \qquad
      \alpha = \ell^{-1}\Bigl(\sum_i \ell(z_i(w))\Bigr)$$

    Along the flow it does not fall once $\alpha > 0$, whatever the norm. For a
    `GradientFlow` it is `smoothed`; for a `SteepestFlow` the norm is the
    smoothed one, so that the law is exact.

    Args:
        point: Of a positively homogeneous network that classifies.

    Returns:
        A scalar, positive if and only if $\alpha$ is.

    Raises:
        ValueError: As for `normalized`.

    Example:
        `curve.map(gflow.margins.steepest)`

    References:
        Tsilivis, Vardi and Kempe (2025), arXiv:2410.22069, Theorem 1, where it is
        written $\tilde\gamma$.
    """
    polar = Polar(point)
    size = _size(point.flow.norm_of(_sizes(point.direction)), polar.direction)
    return polar.smoothed_margin() / size**polar.degree


def _sizes(network: PyTree) -> Sizes:
    leaves = jax.tree.leaves(_tree.parameters(network))
    return tuple(jnp.shape(leaf) for leaf in leaves)


def _size(norm: AbstractNorm, network: PyTree) -> Scalar:
    leaves = jax.tree.leaves(_tree.parameters(network))
    return norm(jnp.concatenate([jnp.ravel(leaf) for leaf in leaves]))
