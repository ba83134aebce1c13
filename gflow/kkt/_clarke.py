import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Float64, PyTree

from .. import _tree
from .._checks import require_concrete
from .._flow import AbstractFlow
from .._point import Point
from .._polar import require_margins
from ._hulls import find_hulls
from ._min_norm import checked_active_tol
from ._nearest import nearest_in_cone
from ._residual import KKTResidual
from ._ties import find_ties


def clarke(point: Point, within: float, active_tol: float | None = None) -> KKTResidual:
    r"""The KKT residual at kinks, with the best multipliers and generalized gradients.

    $$\min_{\lambda \geq 0,\; h_i \in \partial z_i} \Big| \tilde w -
      \sum_i \lambda_i h_i \Big|$$

    by non-negative least squares over the corners of all $\partial z_i$, which join as
    they are needed. It is `tightest` where no kinks tie, with the same
    need of `within`, and vanishes at a KKT point on kinks, where no choice of one-sided
    gradients does.

    $\partial z_i$ is taken as the hull described at `min_norm_subgradient`, one for
    each margin. Works on the host: `curve.map` calls it point by point.

    Args:
        point: Of a positively homogeneous network that classifies.
        within: Only margins of slack $z_i / z_{\min} - 1$ at most this get a
            multiplier; `inf` for all.
        active_tol: Which kinks tie, as for `min_norm_subgradient`.

    Returns:
        The residual. NaN unless all margins are positive.

    Raises:
        ValueError: If `within` or `active_tol` is negative or NaN, or as for
            `min_norm_subgradient`.
        RuntimeError: If the least-squares method does not end.

    Example:
        `gflow.kkt.clarke(curve[-1], 1e-3).stationarity`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for the residual.
    """
    require_concrete(point, "gflow.kkt.clarke")
    require_margins(point)
    if not within >= 0:
        raise ValueError(f"`within` must not be negative, but is {within}.")
    checked_active_tol(active_tol)
    margins = np.asarray(_margins(point.flow, point.direction))
    margin = np.min(margins)
    if not margin > 0:
        nan = jnp.array(np.nan)
        return KKTResidual(nan, nan, nan, jnp.full(margins.shape, np.nan))
    slacks, degree = (margins - margin) / margin, point.degree
    scaled, rest = _multipliers(point, slacks <= within, active_tol)
    multipliers = margin ** (1 - 2 / degree) * scaled
    return KKTResidual(
        stationarity=jnp.asarray(margin ** (-1 / degree) * np.linalg.norm(rest)),
        slack=jnp.asarray(np.max(multipliers * slacks)),
        slack_sum=jnp.asarray(np.sum(multipliers * slacks)),
        multipliers=jnp.asarray(multipliers),
    )


def _multipliers(
    point: Point, near: Bool[np.ndarray, " margins"], active_tol: float | None
) -> tuple[Float64[np.ndarray, " margins"], Float64[np.ndarray, " weights"]]:
    """Those of the margins that are near, for a direction of norm one, and the rest."""
    flow, direction = point.flow, point.direction
    each = near.reshape(flow.samples, -1)
    samples = np.any(each, axis=1)
    ties = find_ties(point, active_tol, samples)
    one_by_one = np.tile(np.eye(flow.per_sample), (flow.samples, 1, 1))
    hulls = find_hulls(flow, direction, ties, samples, one_by_one)
    theta = np.asarray(ravel_pytree(_tree.parameters(direction))[0])
    asked = each[samples].ravel()
    chosen = [hull for hull, ask in zip(hulls, asked, strict=True) if ask]
    scaled = np.zeros(near.shape)
    scaled[near], rest = nearest_in_cone(theta, chosen)
    return scaled, rest


@eqx.filter_jit
def _margins(flow: AbstractFlow, network: PyTree) -> Float[Array, " margins"]:
    return flow.margins(network)
