from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._flow import GradientFlow
from .._types import Scalar
from .polar import LOG_LARGE, Polar


class MarginGrowth(NamedTuple):
    r"""The two terms of $\mathrm d \log \tilde\gamma / \mathrm d \log r$.

    Attributes:
        radial: What growing in place would add; not negative.
        spherical: What turning adds; not negative.
    """

    radial: Scalar
    spherical: Scalar


def margin_growth(
    flow: GradientFlow,
    network: PyTree,
    log_radius: Scalar | float | None = None,
    weights: Float[Array, " samples"] | None = None,
    subgradient: PyTree | None = None,
) -> MarginGrowth:
    r"""How fast the smoothed margin grows along the flow, per unit of $\log r$.

    $$\frac{\mathrm d \log \tilde\gamma}{\mathrm d \log r} =
      L \Bigl(\frac{B}{\alpha} - 1\Bigr) + L\,\frac{B}{\alpha}\,
      \Bigl|\frac{\mathrm d \theta}{\mathrm d \log r}\Bigr|^2, \qquad
      B = \frac{\mathrm d \alpha}{\mathrm d \log R}$$

    An identity; the known inequality keeps $L |\mathrm d\theta/\mathrm d \log r|^2$
    alone. For the exponential loss $B - \alpha$ is the entropy of the weights $q$.
    Derived for networks with continuous derivatives; where the flow slides along
    kinks it holds with the `subgradient` that it follows.

    Args:
        flow: Data and loss.
        network: A positively homogeneous network.
        log_radius: $\log r$, to look at the network at this norm; by default its own.
        weights: $q$, as for `alignment`; needed past $r^L = 10^{10}$.
        subgradient: As for `alignment`.

    Returns:
        The radial and the spherical term. NaN where $\alpha \leq 0$, where the
        logarithm is not defined, and where `alignment` is NaN.

    Example:
        `trajectory.map(lambda net, rho, q: gflow.margin_growth(flow, net, rho, q),
        trajectory.log_radius, trajectory.weights)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for the inequality.
    """
    view = Polar(flow, network, log_radius)
    weights = view.weights(weights)
    along, across = view.pull(weights, subgradient)
    alpha = view.smoothed_margin() * jnp.exp(jnp.minimum(view.log_scale, LOG_LARGE))
    alpha = jnp.where(alpha > 0, alpha, jnp.nan)
    excess = view.excess(weights) / alpha
    return MarginGrowth(
        radial=view.degree * excess,
        spherical=view.degree * (1 + excess) * (across / along) ** 2,
    )
