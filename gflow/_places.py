"""Where on a step something has a value: on the host, for many times at once."""

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

from ._log_time import gauss_rule


MOST = 200
"""The most steps for a place on a step; mostly it takes about six."""

CLOSE = 1e-13
"""How near what Newton's method sees is before its last step."""

STEEP = 1e6
"""Where the logarithm of a rate grows so much over a step, its integral is that of the
end."""

LOWEST = -690.0
"""The logarithm of the smallest fraction of a step."""

SHARE = 1e-15
"""How exactly the logarithm of the fraction at which a level is met is found."""

# Panels that halve toward the end of a step.
_ENDWARD, _LOG_ENDWARD = gauss_rule(np.append(1 - 0.5 ** np.arange(51), 1.0))
_NEAR_END = int(np.searchsorted(_ENDWARD, 1 - 0.5**12))


def fractions_at(
    log_rate, log_wanted: Float[np.ndarray, " times"]
) -> Float[np.ndarray, " times"]:
    r"""Where the integral of a rate over a step reaches some values.

    By Newton's method for the logarithm of the integral as a function of that of the
    fraction, kept in a bracket, which is halved where Newton's step does not halve the
    error. Late on, the first is 1e250 and grows as an exponential of the second: its
    inverse hyperbolic sine does not.

    Args:
        log_rate: From fractions (some times, points) of the steps of some times, and
            the numbers of these times, to the logarithm of the rate, the length of the
            step in it.
        log_wanted: The logarithms of the values.
    """
    low, high = np.full(log_wanted.size, LOWEST), np.zeros(log_wanted.size)
    place, left = np.zeros(log_wanted.size), np.arange(log_wanted.size)
    before = np.full(log_wanted.size, np.inf)
    points, log_weights = np.append(_ENDWARD, 1.0), _LOG_ENDWARD
    for _ in range(MOST):
        here, wanted = place[left], np.arcsinh(log_wanted[left])
        logs = log_rate(np.exp(here)[:, None] * points, left)
        inside = logs[:, :-1] + log_weights
        top = np.max(inside, axis=1)
        total = here + top + np.log(np.sum(np.exp(inside - top[:, None]), axis=1))
        over = np.arcsinh(total) - wanted
        low[left] = np.where(over < 0, here, low[left])
        high[left] = np.where(over < 0, high[left], here)
        slope = np.exp(np.minimum(here + logs[:, -1] - total, 600.0))
        # Where only the very end counts, the integral grows as the rate there does.
        steep = (logs[:, -1] - logs[:, _NEAR_END]) / (1 - points[_NEAR_END])
        slope = np.where(steep > STEEP, steep, np.maximum(slope, 1e-3))
        slope = slope / np.hypot(total, 1.0)
        new = here - over / slope
        inner = (new > low[left]) & (new < high[left])
        inner = inner & (np.abs(over) <= before[left] / 2)
        before[left] = np.where(inner, np.abs(over), np.inf)
        far = np.abs(over) > CLOSE * np.maximum(np.abs(wanted), 1.0)
        middle = (low[left] + high[left]) / 2
        place[left] = np.where(inner | ~far, np.minimum(new, 0.0), middle)
        left = left[far & (high[left] - low[left] > SHARE)]
        if left.size == 0:
            break
    return np.exp(place)


def first_passed(height) -> Float[np.ndarray, " 1"]:
    """The fraction of a step where a height passes zero; the least, if it has by then.

    Args:
        height: From one fraction, in an array, to the height there: not negative at 1.
    """

    def at(log_fraction):
        found = float(height(np.exp(np.full(1, log_fraction)))[0])
        return min(max(found, -1e308), 1e308)

    place = (
        LOWEST if at(LOWEST) >= 0 else brentq(at, LOWEST, 0.0, xtol=SHARE, maxiter=1000)
    )
    return np.exp(np.full(1, place))
