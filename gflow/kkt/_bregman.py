import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from .. import _tree
from .._point import Point
from .._polar import Polar
from .._pulls import pull_at
from .._types import Scalar
from ..layers._matrices import matrices
from ..norms import AbstractNorm
from ..norms._ready import L2Norm, norm_of


def bregman(point: Point, norm: str | AbstractNorm | None = None) -> Scalar:
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
    norm it is half the square of the stationarity of `residual`.

    Args:
        point: Of a positively homogeneous network that classifies.
        norm: `"l2"`, `"linf"`, `"l1"` or `"spectral"`, as for `gflow.SteepestFlow` and
            not smoothed; or your own. By default that of the flow, smoothed as there:
            `"l2"` for a `GradientFlow`.

    Returns:
        A scalar, not negative but for rounding: of about 1e-16 $\|\tilde w\|^2$, save
        for the Euclidean norm. NaN unless all margins are positive, and where
        `alignment` is.

    Raises:
        ValueError: If `norm` is none of these, or as for `alignment`.

    Example:
        `curve.map(gflow.kkt.bregman)`

    References:
        Tsilivis, Vardi and Kempe (2025), "Flavors of margin: implicit bias of steepest
        descent in homogeneous neural networks", arXiv:2410.22069.
    """
    sizes = tuple(leaf.shape for leaf in matrices(point.direction))
    if norm is None:
        measure = point.flow.norm_of(sizes)
    else:
        measure = norm_of(norm, sizes)
    view = Polar(point)
    smallest = jnp.min(view.margins)
    size = jnp.where(smallest > 0, smallest, jnp.nan) ** (-2 / view.degree)
    if isinstance(measure, L2Norm):
        along, across = view.pull()
        whole = jnp.hypot(along, across)
        # 1 - cos = sin^2 / (1 + cos)
        return size * (across / whole) ** 2 / (1 + along / whole)
    pull = pull_at(point)
    m, _ = ravel_pytree(pull)
    theta, _ = ravel_pytree(_tree.parameters(view.direction))
    length = measure(theta)
    return size * length * (length - jnp.dot(theta, m) / dual(norm, measure, pull))


def dual(
    norm: str | AbstractNorm | None, measure: AbstractNorm, pull: PyTree
) -> Scalar:
    r"""The dual norm; of `measure`, if `norm` is not named."""
    vector, _ = ravel_pytree(pull)
    if not isinstance(norm, str):
        # <v, D(v)> = |v|_*^2, of a vector of size one.
        unit = jnp.max(jnp.abs(vector))
        vector = vector / unit
        return unit * jnp.sqrt(jnp.dot(vector, measure.direction(vector)))
    if norm == "spectral":
        sums = [jnp.linalg.norm(matrix, ord="nuc") for matrix in matrices(pull)]
        return jnp.sum(jnp.stack(sums))
    return jnp.linalg.norm(vector, {"linf": 1, "l1": jnp.inf}[norm])
