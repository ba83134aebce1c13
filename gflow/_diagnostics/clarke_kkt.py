import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from .. import _tree
from .._flow import GradientFlow
from .._gates import Kinks
from .._trajectory import Trajectory
from .clarke import checked_active_tol, networks_along
from .clarke_hulls import find_hulls
from .clarke_points import nearest_in_cone
from .clarke_ties import find_ties, kinks_of
from .kkt import KKTResidual
from .polar import Polar


def clarke_kkt_residual(
    flow: GradientFlow,
    network: PyTree,
    within: float,
    active_tol: float | None = None,
) -> KKTResidual:
    r"""The KKT residual at kinks, with the best multipliers and generalized gradients.

    $$\min_{\lambda \geq 0,\; h_i \in \partial z_i} \Big| \tilde w -
      \sum_i \lambda_i h_i \Big|$$

    by non-negative least squares over the corners of all $\partial z_i$, which join as
    they are needed. It is `tightest_kkt_residual` where no kinks tie, with the same
    need of `within`, and vanishes at a KKT point on kinks, where no choice of one-sided
    gradients does.

    $\partial z_i$ is taken as the hull described at `min_norm_subgradient`, one for
    each margin. Runs on the host: no `jit`, no `Trajectory.map`.

    Args:
        flow: Data and loss; the loss plays no part.
        network: A positively homogeneous network, of any norm.
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
        `gflow.clarke_kkt_residual(flow, network, 1e-3).stationarity`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for the residual.
    """
    _check(within, active_tol)
    return _residual(flow, network, kinks_of(flow, network), within, active_tol)


def _residual(flow, network, kinks: Kinks, within: float, active_tol) -> KKTResidual:
    direction, degree, margins = _direction(flow, network)
    margins = np.asarray(margins)
    margin = np.min(margins)
    if not margin > 0:
        nan = jnp.array(np.nan)
        return KKTResidual(nan, nan, nan, jnp.full(margins.shape, np.nan))
    slacks = (margins - margin) / margin
    near = slacks <= within
    samples = np.any(near.reshape(flow.samples, -1), axis=1)
    ties = find_ties(flow, direction, kinks, active_tol, samples)
    each = np.tile(np.eye(flow.rivals), (flow.samples, 1, 1))
    hulls = find_hulls(flow, direction, ties, samples, each)
    asked = near.reshape(flow.samples, -1)[samples].ravel()
    theta = np.asarray(ravel_pytree(_tree.parameters(direction))[0])
    chosen = [hull for hull, ask in zip(hulls, asked, strict=True) if ask]
    scaled = np.zeros(margins.shape)
    scaled[near], rest = nearest_in_cone(theta, chosen)
    multipliers = margin ** (1 - 2 / degree) * scaled
    return KKTResidual(
        stationarity=jnp.asarray(margin ** (-1 / degree) * np.linalg.norm(rest)),
        slack=jnp.asarray(np.max(multipliers * slacks)),
        slack_sum=jnp.asarray(np.sum(multipliers * slacks)),
        multipliers=jnp.asarray(multipliers),
    )


def clarke_kkt_residuals(
    flow: GradientFlow,
    trajectory: Trajectory,
    within: float,
    active_tol: float | None = None,
) -> KKTResidual:
    """`clarke_kkt_residual` of each sample of a trajectory.

    Args:
        flow: Data and loss; the loss plays no part.
        trajectory: What `gflow.solve` returned.
        within: As for `clarke_kkt_residual`.
        active_tol: As for `clarke_kkt_residual`.

    Returns:
        The residuals, each array with a leading time axis.

    Raises:
        ValueError: As for `clarke_kkt_residual`.
        RuntimeError: As for `clarke_kkt_residual`.

    Example:
        `gflow.clarke_kkt_residuals(flow, trajectory, 1e-3).stationarity`
    """
    _check(within, active_tol)
    networks = list(networks_along(trajectory))
    kinks = kinks_of(flow, networks[0])
    found = [_residual(flow, each, kinks, within, active_tol) for each in networks]
    return KKTResidual(*(jnp.stack(parts) for parts in zip(*found, strict=True)))


def _check(within: float, active_tol: float | None) -> None:
    if not within >= 0:
        raise ValueError(f"`within` must not be negative, but is {within}.")
    checked_active_tol(active_tol)


@eqx.filter_jit
def _direction(flow, network):
    """The direction of a network, its degree, and its margins there."""
    view = Polar(flow, network)
    return view.direction, view.degree, flow.margins(view.direction)
