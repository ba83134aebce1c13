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
from ._logs import log_mean_exp, log_sum_exp
from ._point import Point
from ._pulls import pull_at
from ._rows import margin_jacobian
from ._types import Scalar


LOG_LARGE = 460.0
"""R is capped at e^460 = 1e200 where only the smoothed margin is asked: there it is
its limit to within log(n) 1e-200."""

TAIL = 37.0
"""Past this smoothed margin the loss of tail 1 is exponential to the last bit."""


class Polar(eqx.Module):
    r"""A homogeneous network that classifies, $w = r \theta$ with $|\theta| = 1$.

    Attributes:
        flow: Data and loss.
        direction: The network with weights $\theta$.
        log_radius: $\log r$.
        degree: The degree $L$.
        margins: $z(\theta)$, at norm one.
        weights: $q$, summing to one; NaN where they are not known.
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
    def _log_large(self) -> float:
        return LOG_LARGE / max(self.flow.loss.tail, 1.0)

    def _exponential(self, alpha: Scalar) -> Bool[Array, ""]:
        """Whether the loss is exponential to the last bit at this smoothed margin."""
        return (alpha > TAIL) & (self.flow.loss.tail == 1.0)

    def smoothed_margin(self) -> Scalar:
        r"""$\tilde\gamma = \alpha / R$; see the public function of this name."""
        scale = jnp.exp(jnp.minimum(self.log_scale, self._log_large))
        mean = log_mean_exp(self.flow.log_losses(scale * self.margins))
        return self.flow.loss.margin_of(mean + math.log(self.flow.samples)) / scale

    def total_weight(self) -> Scalar:
        r"""$\log \sum_i \ell'(z_i) / \ell'(\alpha)$ at radius $r$; 0 far out."""
        scale = jnp.exp(jnp.minimum(self.log_scale, self._log_large))
        alpha = scale * self.smoothed_margin()
        own = self.flow.loss.log_weights(alpha[None])[0]
        total = log_sum_exp(self.flow.log_weights(scale * self.margins)) - own
        return jnp.where(self._exponential(alpha), 0.0, total)

    def excess(self) -> Scalar:
        r"""$B - \alpha$ at radius $r$, with $B$ the derivative of $\alpha$ in $\log R$.

        Far out it is the entropy of the weights, in which nothing cancels.
        """
        scale = jnp.exp(jnp.minimum(self.log_scale, self._log_large))
        alpha = scale * self.smoothed_margin()
        mean = scale * jnp.dot(self.weights, self.margins)
        near = jnp.exp(self.total_weight()) * mean - alpha
        entropy = jnp.sum(jax.scipy.special.entr(self.weights))
        return jnp.where(self._exponential(alpha), entropy, near)

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
    if point.degree is None:
        raise ValueError(
            "`point.network` must be positively homogeneous here, but is not: its "
            "`degree` is None. Without a degree no margin can be normalized; look at "
            "`point.margins` and `point.log_loss`."
        )


def require_margins(point: Point) -> None:
    """Refuse what has no normalized margins.

    Raises:
        ValueError: If the network has no degree, or the flow is one of regression.
    """
    require_classes(point)
    require_degree(point)


def require_classes(point: Point) -> None:
    """Refuse a flow of regression, which has errors and no margins.

    Raises:
        ValueError: If it is one.
    """
    if point.flow.kind == "targets":
        raise ValueError(
            "`point.flow` must classify here, but is one of regression, which has "
            "errors in place of margins. Pass labels and a loss such as "
            "`gflow.Logistic()`."
        )


def jacobian(
    point: Point,
) -> tuple[Float[Array, " margins"], Float[Array, "margins weights"]]:
    """The margins at norm one and their gradients, each a flat vector."""
    moving, still = _tree.partition(point.direction)
    flat, unravel = ravel_pytree(moving)

    def network(flat):
        return eqx.combine(unravel(flat), still)

    return margin_jacobian(point.flow, network, flat)
