"""The laws that every solved curve obeys, checked."""

import numpy as np

from .._curve import require_curve
from .._point import Point
from .._trajectory import Trajectory
from ._duals import check_dual_weights, check_log_loss
from ._monotone import check_monotone
from ._motion import check_motion
from ._report import require_all, require_close
from ._stacks import between, directions, sample


ROOM = 50.0
"""How many tolerances a curve may be off by: errors of the dense output are some tens
of that of a step, by trial on toy problems."""


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
    check_monotone(curve, room)
    check_motion(curve, scale, room)


def _margins(point: Point):
    return point.margins


def _check_clocks(curve: Trajectory) -> None:
    tau, log_t = np.asarray(curve.tau), np.asarray(curve.log_t)
    law = "`curve.tau` must increase"
    require_all(np.diff(tau) > 0, law, lambda at: between(at, tau))
    law = "`curve.log_t` must not fall"
    require_all(log_t[1:] >= log_t[:-1], law, lambda at: between(at, log_t))


def _check_norms(curve: Trajectory) -> None:
    norms = np.linalg.norm(directions(curve), axis=1)
    law = "`curve.direction` must have norm one"
    require_close(norms, np.ones(len(norms)), 1e-12, law, sample)
