"""What rises and what falls along a curve."""

import numpy as np

from .._flow import GradientFlow
from .._losses import CrossEntropy, Exponential, Logistic
from .._trajectory import Trajectory
from ..margins import smoothed
from ._report import require_all
from ._stacks import between


POSITIVE = 1e-2
"""A smoothed margin, not normalized, that is positive for sure: where a sample is lost
for good it is 0, but for rounding."""

LATE, STANDS = 1e3, 1e300
"""Where a loss is late, and where it stands still at the end of its range."""

SLACK = 100.0
"""Far more than the constants of rates, logarithms of margins and of the number of
samples, can be."""


def check_monotone(curve: Trajectory, room: float) -> None:
    """The loss does not rise; once all is fitted, margin and radius do not fall."""
    log_loss = np.asarray(curve.log_loss)
    size = np.maximum(1.0, np.abs(log_loss[1:]))
    if curve.flow.kind == "targets":  # near its end, errors are rounding
        noise = np.max(np.abs(np.asarray(curve.flow.y)))
        size = size + noise / np.exp(np.maximum(log_loss[1:], -1400.0) / 2)
    law = "The loss must not rise along `curve`"
    holds = np.diff(log_loss) <= room * size
    require_all(holds, law, lambda at: between(at, log_loss))
    proved = isinstance(curve.flow.loss, Exponential | Logistic | CrossEntropy)
    if curve.degree is None or not proved or type(curve.flow) is not GradientFlow:
        return
    log_radius = np.asarray(curve.log_radius)
    margin = np.asarray(curve.map(smoothed))
    with np.errstate(divide="ignore", invalid="ignore"):
        log_alpha = np.log(np.maximum(margin, 0.0)) + curve.degree * log_radius
    all_fitted = log_alpha > np.log(POSITIVE)
    fitted = all_fitted[:-1]
    law = "The smoothed margin must not fall along `curve` once it is positive"
    holds = ~fitted | (np.diff(margin) >= -room * np.abs(margin[:-1]))
    require_all(holds, law, lambda at: between(at, margin))
    law = "The radius must not fall along `curve` once the smoothed margin is positive"
    holds = ~fitted | (np.diff(log_radius) >= -room)
    require_all(holds, law, lambda at: between(at, log_radius))
    _check_late(np.asarray(curve.log_t), log_loss, all_fitted, room)


def _check_late(
    log_t: np.ndarray, log_loss: np.ndarray, fitted: np.ndarray, room: float
) -> None:
    """Time runs with the loss: log t = -log L - (2 - 2/degree) log log t + O(1)."""
    late = np.flatnonzero(fitted & (log_loss < -LATE) & (log_loss > -STANDS))
    if late.size == 0:
        return
    falls = -log_loss[late]
    slack = SLACK + 4 * np.log(falls) + room * falls
    # What went before, such as saddles, may have taken long.
    most = np.logaddexp(log_t[late[0]], falls) + slack
    holds = (log_t[late] >= falls - slack) & (log_t[late] <= most)
    law = "Late, `curve.log_t` must be minus the log loss, but for logarithms of it"

    def found(at):
        k = late[at[0]]
        return f"is {log_t[k]:.10g} at log loss {log_loss[k]:.10g}, at sample {k}"

    require_all(holds, law, found)
