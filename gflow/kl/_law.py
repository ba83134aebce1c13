r"""How $\mathrm d\tilde\gamma / \mathrm d\zeta$ depends on the gap near the end."""

from typing import NamedTuple

import numpy as np

from ._fit import Fit, Samples, fit


FEWEST = 5  # samples in a fit that others are compared with
WITHIN = 4  # a fit is compared with those to this part of its samples or more
SIGMAS = 2.0  # by how many errors the exponent is raised to be safe
SLOWEST = 0.25  # corrections to the law decay at least like the gap to this power


class Law(NamedTuple):
    """A power law near the end of a run.

    Attributes:
        fit: The law.
        error: The uncertainty of its exponent.
        count: How many samples it was fitted to, the last ones.
        safe_exponent: The exponent raised by twice its error; from 0 to 1.
        safe_tail: The path past the last sample at this exponent, or by the law of
            fewer samples, whichever is longer; may be infinite.
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
    total = len(samples.fallen)
    fits = [(FEWEST, fit(samples.last(FEWEST)))]
    errors = [np.inf]
    far = False
    while not far and fits[-1][0] < total:
        count = min(fits[-1][0] * 3 // 2, total)
        window = samples.last(count)
        found = fit(window)
        errors.append(error_of(found, window, fits))
        fits.append((count, found))
        far = window.fallen[0] + found.rest > 10**decades * found.rest
    best = int(np.argmin(errors))
    (count, found), error = fits[best], errors[best]
    high = min(found.exponent + SIGMAS * error, 1.0)
    laws = [found, fit(samples.last(count), high)]
    laws += [fewer for number, fewer in fits[:best] if WITHIN * number >= count]
    tail = max(law.path() for law in laws)
    return Law(found, error, count, max(high, 0.0), tail)


def error_of(found: Fit, window: Samples, fewer: list[tuple[int, Fit]]) -> float:
    """The error of the exponent of a fit.

    It joins three: that of the fit; what errors of the samples do that grow steadily;
    and the change of the exponent against fits to fewer samples, continued to gap zero
    as a power of the gap: far from the end there is no power law.

    Args:
        found: The fit.
        window: The samples that it was fitted to.
        fewer: How many of them other fits took, the last ones, and these fits.
    """
    gap = np.log(window.fallen + found.rest)
    steady = np.max(window.spread) / (gap[0] - gap[-1])
    drifts = [
        abs(other.exponent - found.exponent)
        / min(1.0, float(np.expm1(SLOWEST * (np.mean(gap) - np.mean(gap[-count:])))))
        for count, other in fewer
        if WITHIN * count >= len(gap)
    ]
    return float(np.linalg.norm([found.deviation, steady, max(drifts)]))
