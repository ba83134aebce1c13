"""Power laws of the gap through samples, with the gap at the end unknown."""

from typing import NamedTuple

import numpy as np
import scipy.optimize
from jaxtyping import Float64


SPREAD = 1e-3  # relative error of a sample that is always allowed for
SMALLEST = 1e-12  # of the fall over all samples: the least gap at the end


class Samples(NamedTuple):
    """The flow near the end of a run.

    Attributes:
        fallen: How much the gap falls from each sample to the last.
        speed: The rate of the margin per length of path.
        growth: That per unit of log-radius.
        spread: Relative errors of both.
        least: The gap at the last sample is at least this.
        rest: The gap at the last sample, or `None` if it is not known.
    """

    fallen: Float64[np.ndarray, " times"]
    speed: Float64[np.ndarray, " times"]
    growth: Float64[np.ndarray, " times"]
    spread: Float64[np.ndarray, " times"]
    least: float
    rest: float | None

    def last(self, count: int) -> "Samples":
        """The last of them."""
        fallen, speed, growth, spread = (a[-count:] for a in self[:4])
        return Samples(fallen, speed, growth, spread, self.least, self.rest)


class Fit(NamedTuple):
    r"""A law $C g^\kappa$ for the speed.

    Attributes:
        exponent: $\kappa$.
        log_factor: $\log C$.
        rest: The gap $g$ at the last sample.
        deviation: The standard error of the exponent.
    """

    exponent: float
    log_factor: float
    rest: float
    deviation: float

    def path(self) -> float:
        r"""The path past the last sample, $\int_0^g \mathrm dh / (C h^\kappa)$."""
        power = 1 - self.exponent
        if power <= 0:
            return np.inf
        return float(np.exp(power * np.log(self.rest) - self.log_factor) / power)


def fit(samples: Samples, exponent: float | None = None) -> Fit:
    """The law through samples, by least squares that forgive outliers.

    Speed alone does not tell the gap at the end where the exponent is near zero. Growth
    does: it too is a power of the gap, and at least the first. Both are fitted at once.

    Args:
        samples: At least five.
        exponent: The exponent, if it is given.
    """
    fallen, rest = samples.fallen, samples.rest
    logs = np.log(samples.speed), np.log(samples.growth)
    spread = np.maximum(samples.spread, SPREAD)
    span = fallen[0]
    floor = max(samples.least, SMALLEST * span)

    def left(order):
        return rest if rest is not None else floor + np.exp(order)

    def parts(values):
        """Both factors and the power of growth; then what is not given."""
        unknown = list(values[3:])
        order = unknown.pop(0) if rest is None else 0.0
        return values[:3], order, unknown[0] if exponent is None else exponent

    def residuals(values):
        (factor, scale, power), order, kappa = parts(values)
        gap = np.log(fallen + left(order))
        of_speed = logs[0] - kappa * gap - factor
        of_growth = logs[1] - power * gap - scale
        return np.append(of_speed / spread, of_growth / spread)

    # The rest enters through its logarithm, so try all its orders of magnitude first.
    orders = np.log(span) - np.arange(0.5, 28.0, 0.5) if rest is None else [0.0]
    starts = [lines(np.log(fallen + left(order)), logs, spread) for order in orders]
    first = int(np.argmin([misfit for _, misfit in starts]))
    (kappa, factor), (power, scale) = starts[first][0]
    guess = [factor, scale, power]
    guess += [orders[first]] if rest is None else []
    guess += [kappa] if exponent is None else []
    best = scipy.optimize.least_squares(residuals, guess, loss="soft_l1")
    # Scatter above the allowance widens the error; below it the allowance stands.
    scatter = max(1.0, 1.4826 * float(np.median(np.abs(residuals(best.x)))))
    covariance = np.linalg.pinv(best.jac.T @ best.jac)
    (factor, *_), order, kappa = parts(best.x)
    deviation = scatter * float(covariance[-1, -1]) ** 0.5
    return Fit(float(kappa), float(factor), float(left(order)), deviation)


def lines(x, logs, spread):
    """Straight lines by least squares, and their misfit together."""
    fits = [np.polyfit(x, y, 1, w=1 / spread) for y in logs]
    misfit = sum(
        np.sum(((y - np.polyval(line, x)) / spread) ** 2)
        for y, line in zip(logs, fits, strict=True)
    )
    return fits, misfit
