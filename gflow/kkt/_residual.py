from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._point import Point
from .._polar import Polar
from .._types import Scalar
from ..margins import slacks


class KKTResidual(NamedTuple):
    r"""How nearly the weights solve the max-margin problem's KKT conditions.

    At $\tilde w = w / z_{\min}^{1/L}$, which is feasible, for $\min \frac12 |w|^2$
    subject to $z_i(w) \geq 1$.

    Attributes:
        stationarity: $|\tilde w - \sum_i \lambda_i \nabla z_i(\tilde w)|$, the
            $\varepsilon$ of Lyu and Li.
        slack: $\max_i \lambda_i (z_i(\tilde w) - 1)$, the $\delta$ of Lyu and Li.
        slack_sum: $\sum_i \lambda_i (z_i(\tilde w) - 1)$, that of Tsilivis et al.
        multipliers: $\lambda_i \geq 0$.
    """

    stationarity: Scalar
    slack: Scalar
    slack_sum: Scalar
    multipliers: Float[Array, " samples"]


def residual(point: Point, subgradient: PyTree | None = None) -> KKTResidual:
    r"""The $(\varepsilon, \delta)$-KKT residual with the multipliers of the flow.

    $$\lambda_i = \bar\gamma^{1-2/L} \frac{q_i}{|J(\theta)^\top q|}, \qquad
      \varepsilon = \bar\gamma^{-1/L} \sqrt{2 (1 - \beta)}$$

    an equality, computed without cancellation. Other multipliers may give a smaller
    $\varepsilon$: see `tightest`.

    Args:
        point: Of a positively homogeneous network that classifies.
        subgradient: As for `alignment`.

    Returns:
        The residual. NaN unless all margins are positive, and where `alignment` is.
        Weights of a trajectory leave slacks of about 1e-10, however late.

    Raises:
        ValueError: As for `alignment`.

    Example:
        `curve.map(gflow.kkt.residual)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890. Tsilivis, Vardi and Kempe (2025), "Flavors of
        margin: implicit bias of steepest descent in homogeneous neural networks",
        arXiv:2410.22069. The equality is derived.
    """
    view = Polar(point)
    along, across = view.pull(subgradient)
    whole = jnp.hypot(along, across)
    behind = slacks(point)
    smallest = jnp.min(view.margins)
    margin = jnp.where(smallest > 0, smallest, jnp.nan)
    # sqrt(2 (1 - cos)) = sin sqrt(2 / (1 + cos))
    chord = across / whole * jnp.sqrt(2 / (1 + along / whole))
    multipliers = margin ** (1 - 2 / view.degree) * view.weights / whole
    return KKTResidual(
        stationarity=margin ** (-1 / view.degree) * chord,
        slack=jnp.max(multipliers * behind),
        slack_sum=jnp.sum(multipliers * behind),
        multipliers=multipliers,
    )
