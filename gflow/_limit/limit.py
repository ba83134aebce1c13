"""Where a trajectory ends, and how one knows."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from .. import _tree
from .._flow import GradientFlow
from .._trajectory import Trajectory
from .active import stationary
from .drift import drift_of
from .model import Model
from .outlook import outlook
from .residuals import residuals
from .result import Limit, Verdict
from .verdict import judge


def limit(
    flow: GradientFlow,
    trajectory: Trajectory,
    *,
    tolerance: float = 1e-12,
    reach: float = 0.1,
    max_steps: int = 25,
    max_repairs: int = 50,
) -> Limit:
    r"""The limit direction of a trajectory, to rounding, with its certificate.

    From the end of the trajectory Newton's method solves the Karush-Kuhn-Tucker
    conditions of the largest margin on the sphere,

    $$J(\theta)^\top q = L m \theta, \qquad q \geq 0, \qquad \sum_i q_i = 1, \qquad
      z_i \geq m, \qquad q_i (z_i - m) = 0,$$

    with the active margins found and repaired on the way. Every limit of the flow
    meets them, but a flow that stands still for long may only be passing by a saddle:
    so the rates at which deviations grow there are found too, and a limit is certified
    only if none is positive. Where some are zero, it must be one of a surface of equals
    on which the flow stands still: a smooth homogeneous network need not converge, see
    `gflow.problems.mexican_hat`. The certificate is exact to first and second order; it
    is not a proof in interval arithmetic.

    Args:
        flow: The data and loss that the trajectory followed.
        trajectory: What `gflow.solve` returned. Its last entry is read.
        tolerance: The largest stationarity and infeasibility of a certified limit.
        reach: How far from it the trajectory may end, in radians.
        max_steps: Newton steps on one set of active margins.
        max_repairs: Changes of that set.

    Returns:
        The verdict and its grounds: `print(limit)` says it in words.

    Raises:
        ValueError: If `flow` gives other margins than the trajectory's, the network
            has no degree, the loss no margins, or `tolerance` or `reach` is not
            positive.

    Example:
        `gflow.limit(flow, gflow.solve(flow, network, Until(log_margin_scale=100)))`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for the conditions. Nocedal and Wright (2006),
        "Numerical Optimization", chapter 12, for those of second order.
    """
    for name, value in (("tolerance", tolerance), ("reach", reach)):
        if not value > 0:
            raise ValueError(f"`{name}` must be positive, but is {value}.")
    if trajectory.degree is None or flow.kind == "targets":
        raise ValueError(
            "`trajectory` must be that of a homogeneous network that classifies: "
            "without a degree, or under the square loss, there is no normalized margin."
        )
    field, degree = trajectory.field, float(trajectory.degree)
    theta, network = end_of(trajectory)
    margins = np.asarray(flow.margins(network))
    require_same(margins, Model(field, 1.0).jacobian(theta)[0])
    weights = np.array(trajectory.weights[-1])
    scale = degree * float(trajectory.log_radius[-1])  # log R
    if np.min(margins) <= 0:
        return unfitted(field, theta, margins)
    model = Model(field, float(np.min(margins)))
    root = stationary(model, theta, weights, max_steps, max_repairs)
    view = outlook(model, theta, weights, root, degree, reach, max_steps)
    found = residuals(model, view.theta, view.multipliers, degree)
    verdict, reasons = judge(
        view, found, drift_of(trajectory), float(np.min(margins)), tolerance, reach
    )
    log_log_t = scale + math.log(found.margin)
    wait = math.inf if verdict == Verdict.LOCAL_MAXIMUM else view.wait
    return Limit(
        verdict=verdict,
        reasons=tuple(reasons),
        direction=field.network(jnp.asarray(found.theta)),
        margin=found.margin,
        active=found.active,
        multipliers=found.multipliers,
        stationarity=found.stationarity,
        infeasibility=found.infeasibility,
        slack=found.slack,
        slack_sum=found.slack_sum,
        gap=found.gap,
        distance=view.distance,
        rates=degree * found.margin * view.exponents,
        directions=field.network(jnp.asarray(view.vectors.T)),
        unstable=view.unstable,
        neutral=view.neutral,
        amplitude=view.amplitude,
        log_log_t=log_log_t,
        # In log r, of which log R is L times.
        log_log_t_escape=log_log_t + degree * wait,
    )


def end_of(trajectory: Trajectory):
    """The last direction, as a vector and as a network."""
    leaves = jax.tree.leaves(_tree.parameters(trajectory.direction))
    theta = np.concatenate([np.ravel(np.asarray(leaf)[-1]) for leaf in leaves])
    theta = theta / np.linalg.norm(theta)
    return theta, trajectory.field.network(jnp.asarray(theta))


def require_same(given, followed):
    """Refuse a flow on other data than the trajectory's."""
    alike = given.shape == followed.shape and np.allclose(
        given, followed, rtol=1e-9, atol=1e-12 * np.max(np.abs(followed))
    )
    if not alike:
        raise ValueError(
            "`flow` must be the one that `trajectory` followed, but its margins at the "
            "end are others. Pass the flow that was given to `solve`."
        )


def unfitted(field, theta, margins) -> Limit:
    """The answer where some margins are not positive: all else is undefined."""
    wrong = int(np.sum(margins <= 0))
    nan = math.nan
    reason = (
        f"{wrong} of {len(margins)} margins are not positive at the end of the "
        "trajectory: the samples are not fitted."
    )
    return Limit(
        verdict=Verdict.NOT_YET,
        reasons=(reason,),
        direction=field.network(jnp.asarray(theta)),
        margin=float(np.min(margins)),
        active=np.array([], int),
        multipliers=np.full(len(margins), nan),
        stationarity=nan,
        infeasibility=nan,
        slack=nan,
        slack_sum=nan,
        gap=nan,
        distance=nan,
        rates=np.array([]),
        directions=field.network(jnp.zeros((0, len(theta)))),
        unstable=0,
        neutral=0,
        amplitude=nan,
        log_log_t=nan,
        log_log_t_escape=nan,
    )
