import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from .. import _tree
from .._flow import GradientFlow
from .._trajectory import Trajectory
from .kkt import KKTResidual
from .polar import Polar, jacobian


def tightest_kkt_residual(
    flow: GradientFlow, network: PyTree, within: float
) -> KKTResidual:
    r"""The KKT residual with the multipliers of smallest stationarity.

    Non-negative least squares: $\min_{\lambda \geq 0} |\tilde w - \sum_i \lambda_i
    \nabla z_i(\tilde w)|$ over samples near the margin. With more samples than weights
    the stationarity can vanish at points that are no KKT points, by samples far behind
    the margin: so `within` must be chosen, and the slack read too. For `within` = inf
    the stationarity is never above that of `kkt_residual`. No weights or radius are
    needed. Runs on the host: no `jit`, no `Trajectory.map`. For a curve there is
    `tightest_kkt_residuals`.

    Args:
        flow: Data and loss; the loss plays no part.
        network: A positively homogeneous network with continuous derivatives, of any
            norm. At a kink, the derivative that JAX takes is one subgradient of many:
            see `clarke_kkt_residual`.
        within: Only samples of slack $z_i / z_{\min} - 1$ at most this get a
            multiplier; `inf` for all.

    Returns:
        The residual. NaN unless all margins are positive.

    Raises:
        ValueError: If `within` is negative or NaN.
        RuntimeError: If the least-squares method does not end.

    Example:
        `gflow.tightest_kkt_residual(flow, network, 1e-3)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for the residual.
    """
    if not within >= 0:
        raise ValueError(f"`within` must not be negative, but is {within}.")
    parts = [np.asarray(part) for part in _gradients(flow, network)]
    theta, degree, margins, gradients = parts
    margin = np.min(margins)
    if not margin > 0:
        nan = jnp.array(np.nan)
        return KKTResidual(nan, nan, nan, jnp.full(margins.shape, np.nan))
    slacks = (margins - margin) / margin
    near = slacks <= within
    scaled = np.zeros(margins.shape)
    # The triangular factor has the same least squares, in as many rows as samples.
    basis, triangle = np.linalg.qr(gradients[near].T)
    scaled[near] = scipy.optimize.nnls(triangle, basis.T @ theta)[0]
    residual = np.linalg.norm(theta - scaled @ gradients)
    multipliers = margin ** (1 - 2 / degree) * scaled
    return KKTResidual(
        stationarity=jnp.asarray(margin ** (-1 / degree) * residual),
        slack=jnp.asarray(np.max(multipliers * slacks)),
        slack_sum=jnp.asarray(np.sum(multipliers * slacks)),
        multipliers=jnp.asarray(multipliers),
    )


def tightest_kkt_residuals(
    flow: GradientFlow, trajectory: Trajectory, within: float
) -> KKTResidual:
    """`tightest_kkt_residual` of each sample of a trajectory.

    Args:
        flow: Data and loss; the loss plays no part.
        trajectory: What `gflow.solve` returned.
        within: As for `tightest_kkt_residual`.

    Returns:
        The residuals, each array with a leading time axis.

    Raises:
        ValueError: As for `tightest_kkt_residual`.
        RuntimeError: As for `tightest_kkt_residual`.

    Example:
        `gflow.tightest_kkt_residuals(flow, trajectory, 1e-3).stationarity`
    """
    moving, still = _tree.partition(trajectory.direction)
    networks = (
        eqx.combine(jax.tree.map(lambda leaf: leaf[i], moving), still)
        for i in range(len(trajectory.tau))
    )
    found = [tightest_kkt_residual(flow, network, within) for network in networks]
    return KKTResidual(*(jnp.stack(parts) for parts in zip(*found, strict=True)))


@eqx.filter_jit
def _gradients(flow, network):
    """The direction, the degree, and margins and gradients at norm one."""
    view = Polar(flow, network)
    theta, _ = ravel_pytree(_tree.parameters(view.direction))
    return theta, view.degree, *jacobian(flow, view.direction)
