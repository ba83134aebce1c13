from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import PyTree

from .._point import Point
from .._polar import LOG_LARGE, Polar
from .._types import Scalar


ROUNDED = 1e-15
r"""A smoothed margin $\alpha$ below this is zero: some sample is lost."""


class MarginGrowth(NamedTuple):
    r"""The two terms of $\mathrm d \log \tilde\gamma / \mathrm d \log r$.

    Attributes:
        radial: What growing in place would add; not negative.
        spherical: What turning adds; not negative.
    """

    radial: Scalar
    spherical: Scalar


def growth(point: Point, subgradient: PyTree | None = None) -> MarginGrowth:
    r"""How fast the smoothed margin grows along the flow, per unit of $\log r$.

    $$\frac{\mathrm d \log \tilde\gamma}{\mathrm d \log r} =
      L \Bigl(\frac{B}{\alpha} - 1\Bigr) + L\,\frac{B}{\alpha}\,
      \Bigl|\frac{\mathrm d \theta}{\mathrm d \log r}\Bigr|^2, \qquad
      B = \frac{\mathrm d \alpha}{\mathrm d \log R}$$

    An identity; the known inequality keeps $L |\mathrm d\theta/\mathrm d \log r|^2$
    alone. For the exponential loss $B - \alpha$ is the entropy of the weights $q$.
    Derived for networks with continuous derivatives; where the flow slides along
    kinks it holds with the subgradient that it follows, as points of a curve have it.

    Args:
        point: Of a positively homogeneous network that classifies.
        subgradient: As for `gflow.kkt.alignment`.

    Returns:
        The radial and the spherical term. NaN where $\alpha \leq 0$, where the
        logarithm is not defined, and where the alignment is NaN.

    Raises:
        ValueError: As for `normalized`.

    Example:
        `curve.map(gflow.margins.growth)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for the inequality.
    """
    view = Polar(point)
    along, across = view.pull(subgradient)
    alpha = view.smoothed_margin() * jnp.exp(jnp.minimum(view.log_scale, LOG_LARGE))
    alpha = jnp.where(alpha > ROUNDED, alpha, jnp.nan)
    excess = view.excess() / alpha
    return MarginGrowth(
        radial=view.degree * excess,
        spherical=view.degree * (1 + excess) * (across / along) ** 2,
    )
