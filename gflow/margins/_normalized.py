import jax.numpy as jnp

from .._point import Point
from .._polar import Polar, require_margins
from .._types import Scalar


def normalized(point: Point) -> Scalar:
    r"""The smallest margin of a network scaled to norm one.

    $$\bar\gamma = \min_i z_i(\theta) = \min_i z_i(w) / |w|^L, \qquad \theta = w / |w|$$

    It does not depend on the norm of the weights, and may fall along the flow: growth
    is proved for `smoothed`.

    Args:
        point: Of a positively homogeneous network that classifies.

    Returns:
        A scalar, positive if and only if every sample is classified correctly.

    Raises:
        ValueError: If the network has no degree, or the flow is one of regression.

    Example:
        `curve.map(gflow.margins.normalized)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, where it is written $\bar\gamma$.
    """
    require_margins(point)
    return jnp.min(point.flow.margins(point.direction))


def smoothed(point: Point) -> Scalar:
    r"""The margin that a single sample with all of the loss would have, normalized.

    $$\tilde\gamma = \alpha / r^L, \qquad
      \alpha = \ell^{-1}\Bigl(\sum_i \ell(z_i(w))\Bigr)$$

    the sum being $n \mathcal L$. Never above the normalized margin, and along the flow
    it does not fall once $\alpha > 0$. For the exponential loss
    $\bar\gamma - \tilde\gamma \leq \log n / r^L$.

    Args:
        point: Of a positively homogeneous network that classifies.

    Returns:
        A scalar. Positive if and only if $\alpha$ is: the summed loss is below 1 for
        the exponential, below $\log 2$ for the logistic. It tends to `-inf` with the
        radius to 0.

    Raises:
        ValueError: As for `normalized`.

    Example:
        `curve.map(gflow.margins.smoothed)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, where it is written $\tilde\gamma$.
    """
    return Polar(point).smoothed_margin()
