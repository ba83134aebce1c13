import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._flow import GradientFlow
from .._logs import log_sum_exp
from .._types import Scalar
from .polar import LOG_LARGE, Polar


class GradientParts(NamedTuple):
    """A gradient in weight space, along the weights and across them.

    Attributes:
        sign: Of the part along the weights: -1, 0 or 1.
        log_radial: Logarithm of the size of the part along the weights.
        log_spherical: Logarithm of the length of the part across them.
    """

    sign: Scalar
    log_radial: Scalar
    log_spherical: Scalar


def loss_gradient(
    flow: GradientFlow,
    network: PyTree,
    log_radius: Scalar | float | None = None,
    weights: Float[Array, " samples"] | None = None,
    subgradient: PyTree | None = None,
) -> GradientParts:
    r"""The radial and spherical parts of $\nabla \mathcal L$, the mean loss.

    $$-\nabla \mathcal L = G\, r^{L-1} J(\theta)^\top q, \qquad
      G = \tfrac1n \sum_i -\ell'(z_i)$$

    Of the minimum-norm subgradient only where the network is differentiable: at a kink
    it is the derivative that JAX takes, unless another is given as `subgradient`.

    Args:
        flow: Data and loss.
        network: A positively homogeneous network.
        log_radius: $\log r$, to look at the network at this norm; by default its own.
        weights: $q$, as for `alignment`; needed past $r^L = 10^{10}$.
        subgradient: As for `alignment`.

    Returns:
        The parts. Once all margins are positive the sign is -1. The logarithms are
        `-inf` where a part is zero, and where they themselves are below -1e200 or so.
        NaN where `alignment` is, at critical points excepted.

    Example:
        `trajectory.map(lambda net, rho, q: gflow.loss_gradient(flow, net, rho, q),
        trajectory.log_radius, trajectory.weights)`

    References:
        Ji and Telgarsky (2020), "Directional convergence and alignment in deep
        learning", arXiv:2006.06657.
    """
    view = Polar(flow, network, log_radius)
    along, across = view.pull(view.weights(weights), subgradient)
    scale = jnp.exp(jnp.minimum(view.log_scale, LOG_LARGE / max(flow.loss.tail, 1)))
    log_pull = log_sum_exp(flow.log_weights(scale * view.margins))
    log_pull = log_pull - math.log(flow.samples)
    log_pull = jnp.where(
        view.log_scale > LOG_LARGE, -jnp.inf * jnp.sign(jnp.min(view.margins)), log_pull
    )
    log_size = log_pull + (view.degree - 1) * view.log_radius
    return GradientParts(
        sign=-jnp.sign(along),
        log_radial=log_size + jnp.log(jnp.abs(along)),
        log_spherical=log_size + jnp.log(across),
    )


def smoothed_margin_gradient(
    flow: GradientFlow,
    network: PyTree,
    log_radius: Scalar | float | None = None,
    weights: Float[Array, " samples"] | None = None,
    subgradient: PyTree | None = None,
) -> GradientParts:
    r"""The radial and spherical parts of $\nabla \tilde\gamma$ in weight space.

    $$\partial_r \tilde\gamma = L (B - \alpha) / r^{L+1}, \qquad
      |\nabla_\perp \tilde\gamma| = \frac{Q}{r}\, |P_\theta J(\theta)^\top q|, \qquad
      Q = \sum_i \frac{\ell'(z_i)}{\ell'(\alpha)}$$

    with $B$ as in `margin_growth`. Along the flow, per unit of time,
    $\tilde\gamma$ grows by the radial parts of both gradients times each other, plus
    the spherical parts times each other.

    Args:
        flow: Data and loss.
        network: A positively homogeneous network.
        log_radius: $\log r$, to look at the network at this norm; by default its own.
        weights: $q$, as for `alignment`; needed past $r^L = 10^{10}$.
        subgradient: As for `alignment`.

    Returns:
        The parts; the sign is 1 but for rounding. NaN where `alignment` is, at
        critical points excepted.

    Example:
        `trajectory.map(lambda net, rho, q:
        gflow.smoothed_margin_gradient(flow, net, rho, q),
        trajectory.log_radius, trajectory.weights)`

    References:
        Ji and Telgarsky (2020), "Directional convergence and alignment in deep
        learning", arXiv:2006.06657. The formulas are derived.
    """
    view = Polar(flow, network, log_radius)
    weights = view.weights(weights)
    across = view.pull(weights, subgradient)[1]
    radial = view.degree * view.excess(weights)
    return GradientParts(
        sign=jnp.sign(radial),
        log_radial=jnp.log(jnp.abs(radial)) - view.log_scale - view.log_radius,
        log_spherical=jnp.log(across) + view.total_weight() - view.log_radius,
    )
