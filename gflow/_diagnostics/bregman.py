import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .. import _tree
from .._flow import AbstractFlow
from .._norms import NORMS, AbstractNorm, L2Norm, checked_norm
from .._types import Scalar
from .layers import matrices
from .polar import Polar, margins_and_pullback


def bregman_residual(
    flow: AbstractFlow,
    network: PyTree,
    log_radius: Scalar | float | None = None,
    weights: Float[Array, " samples"] | None = None,
    norm: str | None = None,
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
        flow: Data and loss, and the norm in which the flow is steepest.
        network: A positively homogeneous network.
        log_radius: $\log |w|_2$, to look at the network at this Euclidean norm; by
            default its own.
        weights: $q$, as for `alignment`; needed past $r^L = 10^{10}$.
        norm: `"l2"`, `"linf"`, `"l1"` or `"spectral"`, as for `gflow.SteepestFlow` and
            not smoothed. By default that of the flow, smoothed as there: `"l2"` for a
            `GradientFlow`.

    Returns:
        A scalar, not negative but for rounding: of about 1e-16 $\|\tilde w\|^2$, save
        for the Euclidean norm. NaN unless all margins are positive, and where
        `alignment` is.

    Raises:
        ValueError: If `norm` is none of these.

    Example:
        `trajectory.map(lambda net, rho, q: gflow.bregman_residual(flow, net, rho, q),
        trajectory.log_radius, trajectory.weights)`

    References:
        Tsilivis, Vardi and Kempe (2025), "Flavors of margin: implicit bias of steepest
        descent in homogeneous neural networks", arXiv:2410.22069.
    """
    sizes = tuple(leaf.shape for leaf in matrices(network))
    if norm is None:
        measure = flow.norm_of(sizes)
    else:
        measure = NORMS[checked_norm(norm)](0.0, sizes)
    view = Polar(flow, network, log_radius)
    weights = view.weights(weights)
    smallest = jnp.min(view.margins)
    size = jnp.where(smallest > 0, smallest, jnp.nan) ** (-2 / view.degree)
    if isinstance(measure, L2Norm):
        along, across = view.pull(weights)
        whole = jnp.hypot(along, across)
        # 1 - cos = sin^2 / (1 + cos)
        return size * (across / whole) ** 2 / (1 + along / whole)
    pull = margins_and_pullback(flow, view.direction)[1](weights)
    m, _ = ravel_pytree(pull)
    theta, _ = ravel_pytree(_tree.parameters(view.direction))
    length = measure(theta)
    return size * length * (length - jnp.dot(theta, m) / dual(norm, measure, pull))


def dual(norm: str | None, measure: AbstractNorm, pull: PyTree) -> Scalar:
    r"""The dual norm; of the smoothed `measure`, if `norm` is not named."""
    vector, _ = ravel_pytree(pull)
    if norm is None:
        # <v, D(v)> = |v|_*^2, of a vector of size one.
        unit = jnp.max(jnp.abs(vector))
        vector = vector / unit
        return unit * jnp.sqrt(jnp.dot(vector, measure.direction(vector)))
    if norm == "spectral":
        sums = [jnp.linalg.norm(matrix, ord="nuc") for matrix in matrices(pull)]
        return jnp.sum(jnp.stack(sums))
    return jnp.linalg.norm(vector, {"linf": 1, "l1": jnp.inf}[norm])
