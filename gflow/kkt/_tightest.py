import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.flatten_util import ravel_pytree

from .. import _tree
from .._checks import require_concrete
from .._point import Point
from .._polar import jacobian, require_margins
from ._residual import KKTResidual


def tightest(point: Point, within: float) -> KKTResidual:
    r"""The KKT residual with the multipliers of smallest stationarity.

    Non-negative least squares: $\min_{\lambda \geq 0} |\tilde w - \sum_i \lambda_i
    \nabla z_i(\tilde w)|$ over samples near the margin. With more samples than weights
    the stationarity can vanish at points that are no KKT points, by samples far behind
    the margin: so `within` must be chosen, and the slack read too. For `within` = inf
    the stationarity is never above that of `residual`. Neither weights nor radius play
    a part. Works on the host: `curve.map` calls it point by point.

    Args:
        point: Of a positively homogeneous network that classifies, with continuous
            derivatives. At a kink, the derivative that JAX takes is one subgradient of
            many: see `clarke`.
        within: Only samples of slack $z_i / z_{\min} - 1$ at most this get a
            multiplier; `inf` for all.

    Returns:
        The residual. NaN unless all margins are positive.

    Raises:
        ValueError: If `within` is negative or NaN, or as for `alignment`.
        RuntimeError: If the least-squares method does not end.

    Example:
        `curve.map(lambda point: gflow.kkt.tightest(point, 1e-3))`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for the residual.
    """
    if not within >= 0:
        raise ValueError(f"`within` must not be negative, but is {within}.")
    require_concrete(point, "gflow.kkt.tightest")
    require_margins(point)
    theta, margins, gradients = (np.asarray(part) for part in _gradients(point))
    degree = point.degree
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


@eqx.filter_jit
def _gradients(point: Point):
    """The direction, and margins and gradients at norm one."""
    theta, _ = ravel_pytree(_tree.parameters(point.direction))
    return theta, *jacobian(point)
