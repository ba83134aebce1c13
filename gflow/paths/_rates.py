import math

import numpy as np
from jaxtyping import Float64

from .._curve import AbstractCurve


LATEST = 1e9
"""Past this log-time too few digits of the sum of log-loss and log-time are left."""


def log_loss_constant(curve: AbstractCurve) -> Float64[np.ndarray, " times"]:
    r"""The logarithm of $\mathcal L \cdot t \cdot (\log t)^{2 - 2/L}$.

    Once the margin is positive it tends, for both exponential and logistic loss, to

    $$-2 \log L - \tfrac 2L \log \bar\gamma_\infty$$

    if the alignment tends to 1, with $\bar\gamma_\infty$ the limit of the normalized
    margin. Slowly: what is missing is of the order of $\log \log t / \log t$, or of
    what the normalized margin still lacks.

    Args:
        curve: What `gflow.solve` or `gflow.descent.descend` returned, of a mean loss.

    Returns:
        One logarithm a sample. NaN for $\log t \leq 0$, and past $\log t = 10^9$:
        about $10^{-13} \log t$ is rounding (found by trial).

    Example:
        `gflow.paths.log_loss_constant(curve)[-1]`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for the rate. The constant is derived.
    """
    log_t = _late(curve)
    power = 2 - 2 / curve.degree
    return np.asarray(curve.log_loss) + log_t + power * np.log(log_t)


def log_radius_constant(curve: AbstractCurve) -> Float64[np.ndarray, " times"]:
    r"""The logarithm of $|w| / (\log t)^{1/L}$.

    Once the margin is positive it tends to $-\tfrac1L \log \bar\gamma_\infty$, with
    $\bar\gamma_\infty$ the limit of the normalized margin.

    Args:
        curve: What `gflow.solve` or `gflow.descent.descend` returned.

    Returns:
        One logarithm a sample. NaN for $\log t \leq 0$ and where it is infinite.

    Example:
        `gflow.paths.log_radius_constant(curve)[-1]`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for the rate. The constant is derived.
    """
    log_t = _late(curve, math.inf)
    return np.asarray(curve.log_radius) - np.log(log_t) / curve.degree


def _late(curve, latest=LATEST):
    log_t = np.asarray(curve.log_t)
    return np.where((log_t > 0) & (log_t < latest), log_t, np.nan)
