import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._point import Point
from .._polar import require_margins


def slacks(point: Point) -> Float[Array, " margins"]:
    r"""How far each sample lies behind the margin: $z_i / z_{\min} - 1$.

    Args:
        point: Of a positively homogeneous network that classifies.

    Returns:
        One number each margin, at least 0 and 0 for the smallest margin. NaN unless all
        margins are positive.

    Raises:
        ValueError: As for `normalized`.

    Example:
        `curve.map(gflow.margins.slacks)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890.
    """
    require_margins(point)
    margins = point.flow.margins(point.direction)
    smallest = jnp.min(margins)
    return jnp.where(smallest > 0, (margins - smallest) / smallest, jnp.nan)


def support(point: Point, tolerance: float = 1e-6) -> Bool[Array, " margins"]:
    r"""The samples on the margin: those whose slack is at most `tolerance`.

    Along the flow samples of the limit's support keep slacks of about
    $1 / (r^L \bar\gamma)$: a tolerance below that misses some.

    Args:
        point: Of a positively homogeneous network that classifies.
        tolerance: The largest slack $z_i / z_{\min} - 1$ on the margin.

    Returns:
        True for each sample on the margin; no sample is unless all margins are
        positive. For several classes, one each margin.

    Raises:
        ValueError: As for `normalized`.

    Example:
        `gflow.margins.support(curve[-1], 1e-3)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890.
    """
    return slacks(point) <= tolerance
