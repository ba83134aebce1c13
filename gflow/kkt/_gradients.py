import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import PyTree

from .._point import Point
from .._polar import Polar
from .._types import Scalar


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


def loss_gradient(point: Point, subgradient: PyTree | None = None) -> GradientParts:
    r"""The radial and spherical parts of $\nabla \mathcal L$, the mean loss.

    $$-\nabla \mathcal L = G\, r^{L-1} J(\theta)^\top q, \qquad
      G = \tfrac1n \sum_i -\ell'(z_i)$$

    with $G$ over the samples of $q$: without those that no weight moves, on a curve.
    At kinks of the network it is what `alignment` takes.

    Args:
        point: Of a positively homogeneous network that classifies.
        subgradient: As for `alignment`.

    Returns:
        The parts. Once all margins are positive the sign is -1. The logarithms are
        `-inf` where a part is zero, and where they themselves are below -1e200 or so,
        or $R$ is above 1e200.
        NaN where `alignment` is, at critical points excepted.

    Raises:
        ValueError: As for `alignment`.

    Example:
        `curve.map(gflow.kkt.loss_gradient)`

    References:
        Ji and Telgarsky (2020), "Directional convergence and alignment in deep
        learning", arXiv:2006.06657.
    """
    view, flow = Polar(point), point.flow
    along, across = view.pull(subgradient)
    scale = jnp.exp(jnp.minimum(view.log_scale, view.log_large))
    log_pull = view.log_pull(scale) - math.log(flow.samples)
    beyond = jnp.where(jnp.min(view.margins) < 0, jnp.inf, -jnp.inf)
    log_pull = jnp.where(view.log_scale > view.log_large, beyond, log_pull)
    log_size = log_pull + (view.degree - 1) * view.log_radius
    return GradientParts(
        sign=-jnp.sign(along),
        log_radial=log_size + jnp.log(jnp.abs(along)),
        log_spherical=log_size + jnp.log(across),
    )


def smoothed_margin_gradient(
    point: Point, subgradient: PyTree | None = None
) -> GradientParts:
    r"""The radial and spherical parts of $\nabla \tilde\gamma$ in weight space.

    $$\partial_r \tilde\gamma = L (B - \alpha) / r^{L+1}, \qquad
      |\nabla_\perp \tilde\gamma| = \frac{Q}{r}\, |P_\theta J(\theta)^\top q|, \qquad
      Q = \sum_i \frac{\ell'(z_i)}{\ell'(\alpha)}$$

    over the samples of $q$, with $B$ as in `gflow.margins.growth`. Along the flow, per
    unit of time, $\tilde\gamma$ grows by the radial parts of both gradients times each
    other, plus the spherical parts times each other.

    Args:
        point: Of a positively homogeneous network that classifies.
        subgradient: As for `alignment`.

    Returns:
        The parts; the sign is 1 but for rounding. NaN where `alignment` is, at
        critical points excepted.

    Raises:
        ValueError: As for `alignment`.

    Example:
        `curve.map(gflow.kkt.smoothed_margin_gradient)`

    References:
        Ji and Telgarsky (2020), "Directional convergence and alignment in deep
        learning", arXiv:2006.06657. The formulas are derived.
    """
    view = Polar(point)
    across = view.pull(subgradient)[1]
    radial = view.degree * view.excess()
    return GradientParts(
        sign=jnp.sign(radial),
        log_radial=jnp.log(jnp.abs(radial)) - view.log_scale - view.log_radius,
        log_spherical=jnp.log(across) + view.total_weight() - view.log_radius,
    )
