r"""A network in polar coordinates: its direction, and the logarithm of its norm.

Every diagnostic that depends on the radius reads this. The network is evaluated at norm
one, and the scale $R = r^L$ of its margins is kept as a logarithm, so that neither
norms of 1e-100 nor margins of 1e400 are formed.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from .. import _tree
from .._field import SCALE_CAP
from .._flow import AbstractFlow
from .._logs import log_mean_exp, log_sum_exp
from .._rows import margin_jacobian
from .._types import Scalar
from ..nn import AbstractHomogeneous


LOG_LARGE = 460.0
"""R is capped at e^460 = 1e200 where only the smoothed margin is asked: there it is
its limit to within log(n) 1e-200."""

LOG_CAP = math.log(SCALE_CAP)

TAIL = 37.0
"""Past this smoothed margin the loss of tail 1 is exponential to the last bit."""


class Polar(eqx.Module):
    r"""A network $w = r \theta$, $|\theta| = 1$, as its flow sees it.

    All is NaN at $w = 0$.

    Attributes:
        flow: Data and loss.
        direction: The network with weights $\theta$.
        log_radius: $\log r$.
        degree: The degree $L$; that of the network if it knows it, else by Euler's
            identity $\langle \theta, \nabla |z|^2 \rangle = 2 L |z|^2$.
        margins: $z(\theta)$, at norm one.
    """

    flow: AbstractFlow
    direction: PyTree
    log_radius: Scalar
    degree: Scalar
    margins: Float[Array, " samples"]

    def __init__(
        self,
        flow: AbstractFlow,
        network: PyTree,
        log_radius: Scalar | float | None = None,
    ):
        self.flow = flow
        self.direction = _tree.normalize(network)
        own = jnp.log(_tree.norm(network)) if log_radius is None else log_radius
        self.log_radius = jnp.asarray(own, dtype=float)
        self.margins, pull = margins_and_pullback(flow, self.direction)
        if isinstance(network, AbstractHomogeneous):
            self.degree = jnp.asarray(np.float64(network.degree))
        else:
            unit = self.margins / jnp.max(jnp.abs(self.margins))
            slope = _tree.dot(self.direction, pull(unit))
            self.degree = slope / jnp.sum(unit * self.margins)

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

    def weights(
        self, given: Float[Array, " samples"] | None
    ) -> Float[Array, " samples"]:
        """The weights $q$, summing to one: those given, or else from the margins.

        NaN past R = `SCALE_CAP`, where a direction does not determine them.
        """
        if given is not None:
            return given / jnp.sum(given)
        cap = LOG_CAP / self.flow.loss.tail
        log_scale = jnp.where(self.log_scale > cap, jnp.nan, self.log_scale)
        scale = jnp.exp(log_scale)
        return jax.nn.softmax(self.flow.log_weights(scale * self.margins))

    def total_weight(self) -> Scalar:
        r"""$\log \sum_i \ell'(z_i) / \ell'(\alpha)$ at radius $r$; 0 far out."""
        scale = jnp.exp(jnp.minimum(self.log_scale, self._log_large))
        alpha = scale * self.smoothed_margin()
        own = self.flow.loss.log_weights(alpha[None])[0]
        total = log_sum_exp(self.flow.log_weights(scale * self.margins)) - own
        return jnp.where(self._exponential(alpha), 0.0, total)

    def excess(self, weights: Float[Array, " samples"]) -> Scalar:
        r"""$B - \alpha$ at radius $r$, with $B$ the derivative of $\alpha$ in $\log R$.

        Far out it is the entropy of the weights, in which nothing cancels.
        """
        scale = jnp.exp(jnp.minimum(self.log_scale, self._log_large))
        alpha = scale * self.smoothed_margin()
        mean = scale * jnp.dot(weights, self.margins)
        near = jnp.exp(self.total_weight()) * mean - alpha
        entropy = jnp.sum(jax.scipy.special.entr(weights))
        return jnp.where(self._exponential(alpha), entropy, near)

    def pull(
        self, weights: Float[Array, " samples"], subgradient: PyTree | None = None
    ) -> tuple[Scalar, Scalar]:
        r"""The parts of $J(\theta)^\top q$ along $\theta$ (signed) and across it.

        Along $\theta$ it is $L \langle q, z(\theta) \rangle$ by Euler's identity. If
        `subgradient` is given, it stands in place of $J(\theta)^\top q$.
        """
        if subgradient is None:
            pull = margins_and_pullback(self.flow, self.direction)[1](weights)
        else:
            pull = _tree.parameters(subgradient)
        along = _tree.dot(self.direction, pull)
        theta = _tree.parameters(self.direction)
        across = jax.tree.map(lambda leaf, unit: leaf - along * unit, pull, theta)
        return along, _tree.norm(across)


def margins_and_pullback(flow: AbstractFlow, network: PyTree):
    r"""The margins $z$, and the map $q \mapsto J^\top q$ onto trees of parameters."""
    moving, still = _tree.partition(network)
    margins, pullback = jax.vjp(lambda p: flow.margins(eqx.combine(p, still)), moving)
    return margins, lambda weights: pullback(weights)[0]


def jacobian(
    flow: AbstractFlow, network: PyTree
) -> tuple[Float[Array, " samples"], Float[Array, "samples weights"]]:
    """The margins and their gradients, each a flat vector."""
    moving, still = _tree.partition(network)
    flat, unravel = ravel_pytree(moving)

    def network(flat):
        return eqx.combine(unravel(flat), still)

    return margin_jacobian(flow, network, flat)
