import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .. import _tree
from .._flow import GradientFlow
from .._types import Scalar
from .polar import Polar, margins_and_pullback


DUAL = {1: jnp.inf, 2: 2, jnp.inf: 1}
"""Orders of norms and of their duals."""


def bregman_residual(
    flow: GradientFlow,
    network: PyTree,
    log_radius: Scalar | float | None = None,
    weights: Float[Array, " samples"] | None = None,
    order: float = 2,
) -> Scalar:
    r"""How far the weights are from a KKT point in a norm, by a Bregman divergence.

    With $\tilde w = w / z_{\min}^{1/L}$, and $m = \sum_i \lambda_i \nabla z_i(\tilde
    w)$ whose dual norm is made $\|\tilde w\|$, the divergence of
    $\frac12 \|\cdot\|_*^2$ from any subgradient of $\frac12 \|\cdot\|^2$ at $\tilde w$
    to $m$ is

    $$\tfrac12 \|m\|_*^2 + \tfrac12 \|\tilde w\|^2 - \langle \tilde w, m \rangle
      = \frac{\|w\|^2}{z_{\min}^{2/L}} \Bigl(1 -
      \frac{\langle w, -\nabla\mathcal L \rangle}{\|w\|\,\|\nabla\mathcal L\|_*}\Bigr)$$

    Zero if and only if $\tilde w$ is a stationary point of
    $\frac12\|w\|^2$ subject to $z_i \geq 1$ with these multipliers. For the Euclidean
    norm it is half the square of the stationarity of `kkt_residual`.

    Args:
        flow: Data and loss.
        network: A positively homogeneous network.
        log_radius: $\log r$, to look at the network at this norm (Euclidean, whatever
            `order`); by default its own.
        weights: $q$, as for `alignment`; needed past $r^L = 10^{10}$.
        order: 1, 2 or `inf`: of the norm of the weights as one vector.

    Returns:
        A scalar, not negative. For orders 1 and `inf` rounding is about 1e-16 of
        $\|\tilde w\|^2$. NaN unless all margins are positive, and where `alignment` is.

    Raises:
        ValueError: If `order` is none of these.

    Example:
        `trajectory.map(lambda net, rho, q: gflow.bregman_residual(flow, net, rho, q),
        trajectory.log_radius, trajectory.weights)`

    References:
        Tsilivis, Vardi and Kempe (2025), "Flavors of margin: implicit bias of steepest
        descent in homogeneous neural networks", arXiv:2410.22069.
    """
    if order not in DUAL:
        raise ValueError(f"`order` must be 1, 2 or inf, but is {order}.")
    view = Polar(flow, network, log_radius)
    weights = view.weights(weights)
    smallest = jnp.min(view.margins)
    size = jnp.where(smallest > 0, smallest, jnp.nan) ** (-2 / view.degree)
    if order == 2:
        along, across = view.pull(weights)
        whole = jnp.hypot(along, across)
        # 1 - cos = sin^2 / (1 + cos)
        return size * (across / whole) ** 2 / (1 + along / whole)
    pull = margins_and_pullback(flow, view.direction)[1](weights)
    m, _ = ravel_pytree(pull)
    theta, _ = ravel_pytree(_tree.parameters(view.direction))
    norm, dual = jnp.linalg.norm(theta, order), jnp.linalg.norm(m, DUAL[order])
    return size * norm * (norm - jnp.dot(theta, m) / dual)
