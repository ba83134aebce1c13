"""The laws that every solved curve obeys, checked."""

import numpy as np

from .._curve import require_curve
from .._flow import GradientFlow
from .._losses import CrossEntropy, Exponential, Logistic
from .._point import Point
from .._trajectory import Trajectory
from ..margins import smoothed
from ._duals import check_dual_weights, check_log_loss
from ._motion import check_motion
from ._report import require_all, require_close
from ._stacks import directions, sample


ROOM = 50.0
"""How many tolerances a curve may be off by: errors of the dense output are some tens
of that of a step, by trial on toy problems."""


POSITIVE = 1e-2
"""A smoothed margin, not normalized, that is positive for sure: where a sample is lost
for good it is 0, but for rounding."""

LATE, STANDS = 1e3, 1e300
"""Where a loss is late, and where it stands still at the end of its range."""

SLACK = 100.0
"""Far more than the constants of rates, logarithms of margins and of the number of
samples, can be."""


def check_trajectory(curve: Trajectory, *, rtol: float = 1e-6) -> None:
    r"""Check that a curve obeys the laws of a gradient flow.

    With $R = |w|^L \max_i |z_i(\theta)|$ (without a degree, the largest margin), to the
    power of the tail of the loss, and 50 `rtol` of room unless it says otherwise:

    1. Clocks run forward: `tau` increases, and `log_t` does not fall.
    2. Directions have norm one, to 1e-12.
    3. Dual weights are not negative and sum to one, to 1e-12; where $R \leq 10^3$ they
       are those of the margins, to $\max(1, R)$ times the room. Under the square loss
       they are minus the errors.
    4. `log_loss` is that of the margins, to $\max(1, R)$ times the room.
    5. The loss does not rise, nor, once the smoothed margin is positive, do radius and
       smoothed margin fall (the latter for homogeneous networks and exponential,
       logistic and cross-entropy losses; Lyu and Li, 2020). For these, once the log
       loss is below -1000, it is minus `log_t`, but for some logarithms and 100.
    6. The weights move by the integral of minus the gradient, the log loss falls by
       that of its square over the loss, and time runs as the rate of the clock says, to
       $\max(1, R)$ times the room; `tau` of a clock of time is its function.

    The integrals are over steps with $R \leq 10^4$, by eight points on the dense
    output. They are left out for curves without it and for networks with kinks, where a
    flow may slide. Far out, where $R > 10^4$, the other laws alone hold a curve.

    Args:
        curve: What `gflow.solve` returned, or a part of it.
        rtol: The tolerance that it was solved with.

    Raises:
        AssertionError: If a law is broken; it says which, where, and by how much.
        ValueError: If `curve` is no `gflow.Trajectory`, or has no points.

    Example:
        `gflow.testing.check_trajectory(gflow.solve(flow, network, until=until))`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890.
    """
    require_curve(curve)
    if not isinstance(curve, Trajectory):
        raise ValueError(
            "`curve` must be what `gflow.solve` returned, but is "
            f"{type(curve).__name__}, which follows no flow."
        )
    room = ROOM * rtol
    _check_clocks(curve)
    _check_norms(curve)
    margins = np.asarray(curve.map(_margins))
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = np.max(np.abs(margins), axis=1) ** curve.flow.loss.tail
    scale = np.maximum(1.0, sizes)
    check_dual_weights(curve, margins, scale, room)
    check_log_loss(curve, margins, scale, room)
    _check_monotone(curve, room)
    check_motion(curve, scale, room)


def _margins(point: Point):
    return point.margins


def _check_clocks(curve: Trajectory) -> None:
    tau, log_t = np.asarray(curve.tau), np.asarray(curve.log_t)
    law = "`curve.tau` must increase"
    require_all(np.diff(tau) > 0, law, lambda at: _between(at, tau))
    law = "`curve.log_t` must not fall"
    require_all(log_t[1:] >= log_t[:-1], law, lambda at: _between(at, log_t))


def _check_norms(curve: Trajectory) -> None:
    norms = np.linalg.norm(directions(curve), axis=1)
    law = "`curve.direction` must have norm one"
    require_close(norms, np.ones(len(norms)), 1e-12, law, sample)


def _check_monotone(curve: Trajectory, room: float) -> None:
    log_loss = np.asarray(curve.log_loss)
    size = np.maximum(1.0, np.abs(log_loss[1:]))
    if curve.flow.kind == "targets":  # near its end, errors are rounding
        noise = np.max(np.abs(np.asarray(curve.flow.y)))
        size = size + noise / np.exp(np.maximum(log_loss[1:], -1400.0) / 2)
    law = "The loss must not rise along `curve`"
    holds = np.diff(log_loss) <= room * size
    require_all(holds, law, lambda at: _between(at, log_loss))
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
    require_all(holds, law, lambda at: _between(at, margin))
    law = "The radius must not fall along `curve` once the smoothed margin is positive"
    holds = ~fitted | (np.diff(log_radius) >= -room)
    require_all(holds, law, lambda at: _between(at, log_radius))
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


def _between(at: tuple[int, ...], values: np.ndarray) -> str:
    k = at[0]
    return f"goes from {values[k]:.10g} to {values[k + 1]:.10g} at sample {k + 1}"
