r"""A network in polar coordinates: its direction, and the logarithm of its norm.

Every diagnostic that depends on the radius reads this. The network is evaluated at norm
one, and the scale $R = r^L$ of its margins is kept as a logarithm, so that neither
norms of 1e-100 nor margins of 1e400 are formed.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from . import _tree
from ._flow import AbstractFlow
from ._gates import frozen
from ._logs import log_mean_exp, log_sum_exp
from ._point import Point, require_point
from ._pulls import pull_at
from ._rows import margin_jacobian, rows_of
from ._types import Scalar


LOG_LARGE = 460.0
"""R is capped at e^460 = 1e200 where only the smoothed margin is asked: there it is
its limit to within log(n) 1e-200."""

TAIL = 37.0
r"""Past this power $\alpha^\beta$ of the smoothed margin the loss is its tail, of the
exponential to the last bit."""


class Polar(eqx.Module):
    r"""A homogeneous network that classifies, $w = r \theta$ with $|\theta| = 1$.

    Attributes:
        flow: Data and loss.
        direction: The network with weights $\theta$.
        log_radius: $\log r$.
        degree: The degree $L$.
        margins: $z(\theta)$, at norm one.
        weights: $q$, summing to one; NaN where they are not known. Zero for those
            margins that no weight moves, on a curve.
        point: What it is made of.
    """

    flow: AbstractFlow
    direction: PyTree
    log_radius: Scalar
    degree: float = eqx.field(static=True)
    margins: Float[Array, " margins"]
    weights: Float[Array, " margins"]
    point: Point

    def __init__(self, point: Point):
        require_margins(point)
        self.point = point
        assert point.degree is not None
        self.flow = point.flow
        self.direction = point.direction
        self.log_radius = jnp.asarray(point.log_radius)
        self.degree = point.degree
        self.margins = point.flow.margins(point.direction)
        self.weights = jnp.asarray(point.weights)

    @property
    def log_scale(self) -> Scalar:
        r"""$\log R = L \log r$."""
        return self.degree * self.log_radius

    @property
    def log_large(self) -> float:
        r"""The logarithm of the largest $R$ whose losses are finite."""
        return LOG_LARGE / max(self.flow.loss.tail, 1.0)

    def _is_far(self, alpha: Scalar) -> Bool[Array, ""]:
        """Whether the loss is its tail at this smoothed margin."""
        return jnp.maximum(alpha, 0.0) ** self.flow.loss.tail > TAIL

    def log_pull(self, scale: Scalar) -> Scalar:
        r"""$\log \sum_i -\ell'(z_i)$ at this $R$, over the margins that $q$ is of."""
        logs = self.flow.log_weights(scale * self.margins)
        return log_sum_exp(jnp.where(self.weights == 0, -jnp.inf, logs))

    def _tail(self) -> tuple[Scalar, Scalar, Scalar]:
        r"""$\log Q$, the entropy of the shares $p_i$ of the loss, and $\log \alpha$.

        Far out $\ell' = \beta z^{\beta - 1} \ell$, so that $p_i \propto q_i z_i^{1 -
        \beta}$ and $Q = \sum_i p_i (z_i / \alpha)^{\beta - 1}$.
        """
        power, smoothed = self.flow.loss.tail - 1.0, self.smoothed_margin()
        margin = jnp.where(smoothed > 0, smoothed, 1.0)
        some = (self.weights > 0) & (self.margins > 0)
        ratios = jnp.where(some, self.margins, margin) / margin
        shares = jnp.where(some, self.weights * ratios**-power, 0.0)
        shares = shares / jnp.sum(shares)
        entropy = jnp.sum(jax.scipy.special.entr(shares))
        log_total = jnp.log(jnp.dot(shares, ratios**power))
        return log_total, entropy, self.log_scale + jnp.log(margin)

    def smoothed_margin(self) -> Scalar:
        r"""$\tilde\gamma = \alpha / R$; see the public function of this name."""
        scale = jnp.exp(jnp.minimum(self.log_scale, self.log_large))
        mean = log_mean_exp(self.flow.log_losses(scale * self.margins))
        return self.flow.loss.margin_of(mean + math.log(self.flow.samples)) / scale

    def total_weight(self) -> Scalar:
        r"""$\log \sum_i \ell'(z_i) / \ell'(\alpha)$ at radius $r$; 0 far out."""
        scale = jnp.exp(jnp.minimum(self.log_scale, self.log_large))
        alpha = scale * self.smoothed_margin()
        own = self.flow.loss.log_weights(alpha[None])[0]
        return jnp.where(
            self._is_far(alpha), self._tail()[0], self.log_pull(scale) - own
        )

    def excess(self) -> Scalar:
        r"""$B - \alpha$ at radius $r$, with $B$ the derivative of $\alpha$ in $\log R$.

        Far out it is the entropy of the shares of the loss over $\alpha^{\beta - 1}$,
        in which nothing cancels.
        """
        scale = jnp.exp(jnp.minimum(self.log_scale, self.log_large))
        alpha = scale * self.smoothed_margin()
        mean = scale * jnp.dot(self.weights, self.margins)
        near = jnp.exp(self.total_weight()) * mean - alpha
        _, entropy, log_alpha = self._tail()
        far = entropy * jnp.exp((1.0 - self.flow.loss.tail) * log_alpha)
        return jnp.where(self._is_far(alpha), far, near)

    def pull(self, subgradient: PyTree | None = None) -> tuple[Scalar, Scalar]:
        r"""The parts of $J(\theta)^\top q$ along $\theta$ (signed) and across it.

        Along $\theta$ it is $L \langle q, z(\theta) \rangle$ by Euler's identity. If
        `subgradient` is given, it stands in place of $J(\theta)^\top q$.
        """
        pull = pull_at(self.point) if subgradient is None else subgradient
        pull = _tree.parameters(pull)
        along = _tree.dot(self.direction, pull)
        theta = _tree.parameters(self.direction)
        across = jax.tree.map(lambda leaf, unit: leaf - along * unit, pull, theta)
        return along, _tree.norm(across)


def require_degree(point: Point) -> None:
    """Refuse a network without a degree.

    Raises:
        ValueError: If it is not homogeneous.
    """
    require_point(point)
    if point.degree is None:
        raise ValueError(
            "`point.network` must be positively homogeneous here, but is not: its "
            "`degree` is None. Without a degree no margin can be normalized; look at "
            "`point.margins` and `point.log_loss`."
        )


def require_margins(point: Point) -> None:
    """Refuse what has no normalized margins.

    Raises:
        ValueError: If the network has no degree, or the flow is one of regression; if
            it is no point.
    """
    require_classes(point)
    require_degree(point)


def require_classes(point: Point) -> None:
    """Refuse a flow of regression, which has errors and no margins.

    Raises:
        ValueError: If it is one.
    """
    require_point(point)
    if point.flow.kind == "targets":
        raise ValueError(
            "`point.flow` must classify here, but is one of regression, which has "
            "errors in place of margins. Pass labels and a loss such as "
            "`gflow.Logistic()`."
        )


def jacobian(
    point: Point,
) -> tuple[Float[Array, " margins"], Float[Array, "margins weights"]]:
    """The margins at norm one and their gradients, each a flat vector.

    At the gates of a curve, if it has recorded them.
    """
    flow = point.flow
    moving, still = _tree.partition(point.direction)
    flat, unravel = ravel_pytree(moving)

    def network(flat):
        return eqx.combine(unravel(flat), still)

    if point.sides is None:
        return margin_jacobian(flow, network, flat)
    kinks = point.known_kinks()

    def margins(flat, on, x, y):
        return frozen(flow.sample_margins, kinks, on, network(flat), x, y)[0]

    return rows_of(margins, flow.per_sample, flat, (point.sides, flow.x, flow.y))
