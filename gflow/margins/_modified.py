from collections.abc import Sequence

import jax.numpy as jnp

from .._point import Point
from .._polar import require_classes
from .._types import Scalar


def modified(point: Point, degree: float, bound: Sequence[float]) -> Scalar:
    r"""The smoothed margin of a network that is homogeneous but for lower powers.

    $$\gamma^a = \frac{\alpha - p_a(r)}{r^M}, \qquad
      p_a(r) = \sum_{i < M} \frac{c_i}{M - i}\, r^i$$

    for a network with $|\langle w, \nabla f \rangle - M f| \leq \sum_i c_i r^i$, where
    $r = |w|$. Along the flow of the exponential loss it does not fall once it is
    positive, while $\alpha / r^M$ may. For $m$ units, $f = \sum_j a_j \varphi(\langle
    v_j, x \rangle)$ and $|x| \leq 1$ take $M = 2$ and $c = (0, \kappa \sqrt m)$ with
    $\kappa = \sup |u \varphi'(u) - \varphi(u)|$.

    Args:
        point: Where the network is. Its own degree, if it has one, plays no part.
        degree: $M$.
        bound: $c_0, c_1, \dots$, at most $M$ of them. It is not checked.

    Returns:
        A scalar. NaN where $r^M$ or the margins overflow.

    Raises:
        ValueError: If `bound` is too long, or holds a negative number, or if the
            flow is one of regression.

    Example:
        `gflow.margins.modified(point, 2, (0.0, 0.7))`

    References:
        Cai, Zhou, Wu, Mei, Lindsey and Bartlett (2025), arXiv:2502.16075, where it is
        written $\gamma^a$. The formula is derived anew for this docstring.
    """
    if len(bound) > degree:
        raise ValueError(
            f"`bound` must hold at most `degree` = {degree} numbers, for powers of the "
            f"norm below it, but holds {len(bound)}."
        )
    if any(not c >= 0 for c in bound):
        raise ValueError(f"`bound` must not be negative, but is {tuple(bound)}.")
    require_classes(point)
    flow, radius = point.flow, jnp.exp(point.log_radius)
    log_sum = flow.log_loss(point.network) + jnp.log(flow.samples)
    lower = sum(c / (degree - i) * radius**i for i, c in enumerate(bound))
    return (flow.loss.margin_of(log_sum) - lower) / radius**degree
