import math

import numpy as np
from jaxtyping import Float64

from .._trajectory import Trajectory


LATEST = 1e9
"""Past this log-time too few digits of the sum of log-loss and log-time are left."""


def log_loss_constant(trajectory: Trajectory) -> Float64[np.ndarray, " times"]:
    r"""The logarithm of $\mathcal L \cdot t \cdot (\log t)^{2 - 2/L}$.

    Once the margin is positive it tends, for both exponential and logistic loss, to

    $$-2 \log L - \tfrac 2L \log \bar\gamma_\infty$$

    if the alignment tends to 1, with $\bar\gamma_\infty$ the limit of the normalized
    margin. Slowly: what is missing is of the order of $\log \log t / \log t$, or of
    what the normalized margin still lacks.

    Args:
        trajectory: What `gflow.solve` returned, of a mean loss.

    Returns:
        One logarithm a sample. NaN for $\log t \leq 0$, and past $\log t = 10^9$:
        about $10^{-13} \log t$ is rounding (found by trial).

    Example:
        `gflow.log_loss_constant(trajectory)[-1]`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for the rate. The constant is derived.
    """
    log_t = _late(trajectory)
    power = 2 - 2 / trajectory.degree
    return np.asarray(trajectory.log_loss) + log_t + power * np.log(log_t)


def log_radius_constant(trajectory: Trajectory) -> Float64[np.ndarray, " times"]:
    r"""The logarithm of $|w| / (\log t)^{1/L}$.

    Once the margin is positive it tends to $-\tfrac1L \log \bar\gamma_\infty$, with
    $\bar\gamma_\infty$ the limit of the normalized margin.

    Args:
        trajectory: What `gflow.solve` returned.

    Returns:
        One logarithm a sample. NaN for $\log t \leq 0$ and where it is infinite.

    Example:
        `gflow.log_radius_constant(trajectory)[-1]`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for the rate. The constant is derived.
    """
    log_t = _late(trajectory, math.inf)
    return np.asarray(trajectory.log_radius) - np.log(log_t) / trajectory.degree


def _late(trajectory, latest=LATEST):
    log_t = np.asarray(trajectory.log_t)
    return np.where((log_t > 0) & (log_t < latest), log_t, np.nan)
