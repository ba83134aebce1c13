r"""How $\mathrm d\tilde\gamma / \mathrm d\zeta$ depends on the gap near the end."""

from typing import NamedTuple

import numpy as np

from .fit import Fit, Samples, fit


FEWEST = 6  # samples in a fit
SIGMAS = 2.0  # by how many errors the exponent is raised to be safe
SLOWEST = 0.25  # corrections to the law decay at least like the gap to this power


class Law(NamedTuple):
    """A power law near the end of a run.

    Attributes:
        fit: The law.
        error: The uncertainty of its exponent.
        count: How many samples it was fitted to, the last ones.
        safe_exponent: The exponent raised by twice its error; from 0 to 1.
        safe_tail: The path past the last sample at this exponent, or by the later half
            of the samples, whichever is longer; may be infinite.
    """

    fit: Fit
    error: float
    count: int
    safe_exponent: float
    safe_tail: float


def power_law(samples: Samples, decades: float) -> Law:
    """Fit the law to the last samples, as many as give the smallest error.

    Args:
        samples: The flow near the end.
        decades: How many powers of ten of the gap to read at most, before the last.
    """
    best, count, total = None, FEWEST, len(samples.fallen)
    while True:
        found, error = with_error(samples.last(count))
        if best is None or error < best[1]:
            best = found, error, count
        far = samples.fallen[-count] + found.rest > 10**decades * found.rest
        if far or count == total:
            break
        count = min(count + count // 2, total)
    found, error, count = best
    window = samples.last(count)
    high = min(found.exponent + SIGMAS * error, 1.0)
    tails = fit(window, high).path(), fit(later_half(window)).path()
    return Law(found, error, count, max(high, 0.0), max(tails))


def with_error(samples: Samples) -> tuple[Fit, float]:
    """A fit, and the error of its exponent.

    The error joins three: that of the fit; what errors of the samples do that grow
    steadily; and the change of the exponent when only the later half of the samples is
    fitted, continued to gap zero as a power of the gap: far from the end there is no
    power law.
    """
    found, late = fit(samples), fit(later_half(samples))
    gap = np.log(samples.fallen + found.rest)
    steady = np.max(samples.spread) / (gap[0] - gap[-1])
    nearer = np.mean(gap) - np.mean(gap[-len(later_half(samples).fallen) :])
    drift = abs(late.exponent - found.exponent)
    drift /= min(1.0, float(np.expm1(SLOWEST * nearer)))
    return found, float(np.linalg.norm([found.deviation, steady, drift]))


def later_half(samples: Samples) -> Samples:
    """The later half of samples, five at least."""
    return samples.last(max(FEWEST - 1, len(samples.fallen) // 2))
