import math

import numpy as np
from jaxtyping import Float64

from .._curve import AbstractCurve, require_homogeneous
from .._losses import AbstractMarginLoss


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

    Raises:
        ValueError: If the network is not homogeneous, or the loss has no exponential
            tail.

    Example:
        `gflow.paths.log_loss_constant(curve)[-1]`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for the rate. The constant is derived.
    """
    degree = require_homogeneous(curve, "rate of this kind")
    loss = curve.flow.loss
    if not isinstance(loss, AbstractMarginLoss) or loss.tail != 1:
        raise ValueError(
            "`curve.flow.loss` must have an exponential tail, such as that of "
            f"`gflow.Logistic()`, but is {loss!r}, under which the loss has another "
            "rate."
        )
    log_t, power = _late(curve), 2 - 2 / degree
    return np.asarray(curve.log_loss) + log_t + power * np.log(log_t)


def log_radius_constant(curve: AbstractCurve) -> Float64[np.ndarray, " times"]:
    r"""The logarithm of $|w| / (\log t)^{1/(\beta L)}$.

    Once the margin is positive it tends to $-\tfrac1L \log \bar\gamma_\infty$, with
    $\bar\gamma_\infty$ the limit of the normalized margin and $\beta$ the tail of the
    loss, 1 for all but `gflow.ExponentialTail`.

    Args:
        curve: What `gflow.solve` or `gflow.descent.descend` returned.

    Returns:
        One logarithm a sample. NaN for $\log t \leq 0$ and where it is infinite.

    Raises:
        ValueError: If the network is not homogeneous, or the loss is that of targets.

    Example:
        `gflow.paths.log_radius_constant(curve)[-1]`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for the rate. The constant is derived.
    """
    degree = require_homogeneous(curve, "rate of this kind")
    log_t, tail = _late(curve, math.inf), curve.flow.loss.tail
    return np.asarray(curve.log_radius) - np.log(log_t) / (degree * tail)


def _late(curve, latest=LATEST):
    log_t = np.asarray(curve.log_t)
    return np.where((log_t > 0) & (log_t < latest), log_t, np.nan)
