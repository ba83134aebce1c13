"""When deviations that grow will have grown."""

import numpy as np
import scipy.optimize
from jaxtyping import Float64


GROWN = 0.5  # radians


def growing_time(
    amplitudes: Float64[np.ndarray, " unstable"],
    rates: Float64[np.ndarray, " unstable"],
) -> float:
    r"""The time until a deviation $(c_k e^{\sigma_k s})_k$ has grown to half a radian.

    Args:
        amplitudes: $c_k$.
        rates: $\sigma_k > 0$, per unit of time.

    Returns:
        A time, not negative; `inf` if nothing grows.
    """
    return first_large(np.zeros(len(rates)), np.log(rates), amplitudes * rates, rates)


def moving_time(
    velocity: Float64[np.ndarray, " unstable"],
    rates: Float64[np.ndarray, " unstable"],
) -> float:
    r"""The time until one that moves at $v_k e^{\sigma_k s}$ has gone half a radian.

    Args:
        velocity: $v_k$, now.
        rates: $\sigma_k > 0$, per unit of time.

    Returns:
        A time; `inf` if nothing moves.
    """
    return first_large(np.ones(len(rates)), np.log(rates), velocity, rates)


def first_large(past, log_rates, velocity, rates):
    """When |v (exp(s rate) - past) / rate| is `GROWN`; in logarithms throughout."""
    moving = np.abs(velocity) > 0
    if not np.any(moving):
        return np.inf
    logs = np.log(np.abs(velocity[moving])) - log_rates[moving]
    rates, past = rates[moving], past[moving]

    def excess(time):
        grown = time * rates
        with np.errstate(divide="ignore"):  # nothing has moved at time zero
            sizes = logs + grown + np.log1p(-past * np.exp(-grown))
        return np.logaddexp.reduce(2 * sizes) / 2 - np.log(GROWN)

    if excess(0.0) >= 0:
        return 0.0
    late = 1.0
    while excess(late) < 0:
        late *= 2
    place = scipy.optimize.brentq(lambda s: max(excess(s), -1e3), 0.0, late)
    return float(np.asarray(place))
