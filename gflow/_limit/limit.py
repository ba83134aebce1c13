"""Where a curve ends, and how one knows."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64, Int

from .. import _tree
from .._checks import require_concrete
from .._curve import AbstractCurve, require_curve, require_homogeneous
from .._field import Field
from .._flow import SteepestFlow
from .active import stationary
from .analysis import analysis
from .answer import certificate, point_at, stability, undecided
from .drift import drift_of
from .kinks import Crossings, any_wrong, crossings, of_samples
from .model import Model
from .newton import Root
from .residuals import ON_MARGIN, Residuals, residuals
from .restricted import Restricted, restricted
from .result import Limit, Verdict
from .stability import RatesUnknownError
from .verdict import judge
from .work import Work


BEHIND = (
    "The flow slides along {} kinks, of which some lie behind others: there is no "
    "certificate for this yet. The margin is that at the end of the curve."
)
UNKNOWN = "{}: whether one grows is not known. The margin is that at the end."
UNFITTED = (
    "The stationary direction that Newton's method finds from the end does not fit the "
    "samples: the flow goes elsewhere. The margin is that at the end of the curve."
)
STOPPED = "Stopped early, by Ctrl-C: nothing is shown. The margin is that at the end."
CUT = (
    "The gates of the curve are those of its last step, and it ends before: ask "
    "the one that `solve` returned."
)


def limit(
    curve: AbstractCurve,
    *,
    tolerance: float = 1e-12,
    reach: float = 0.1,
    max_steps: int = 25,
    max_repairs: int = 50,
    progress: bool = True,
) -> Limit:
    r"""The limit direction of a curve, to rounding, with its certificate.

    From the end of the curve Newton's method solves the Karush-Kuhn-Tucker
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

    A flow that slides along kinks, as of ReLUs, meets these conditions with generalized
    gradients: on the kinks, and with multipliers in [0, 1] for the gates. These are
    found if none of the kinks lies behind another, of a layer before or of a maximum
    over many. Units that are zero, or at a kink that is not slid along, could be
    switched on, and so could those of squared ReLUs at zero: then the verdict is to
    first order only.

    With many weights this takes minutes, and a line on standard error says how far it
    is. Ctrl-C ends it, and so do rates that are not found: the verdict is "not shown"
    then, and its reason says why.

    Args:
        curve: What `gflow.solve` or `gflow.descent.descend` returned. Its last point is
            read.
        tolerance: The largest stationarity, relative to $|w|$, and infeasibility of a
            certified limit.
        reach: How far from it the curve may end, in radians.
        max_steps: Newton steps on one set of active margins.
        max_repairs: Changes of that set.
        progress: Whether to show a line, on a terminal, if it takes over a second.

    Returns:
        The verdict and its grounds: `print(limit)` says it in words.

    Raises:
        ValueError: If the network has no degree, the loss no margins, or `tolerance` or
            `reach` is not positive.
        TypeError: Inside of `jit`, `vmap` or `grad`.

    Example:
        `gflow.limit(gflow.solve(flow, network, until=Until(log_margin_scale=100.0)))`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for the conditions. Nocedal and Wright (2006),
        "Numerical Optimization", chapter 12, for those of second order.
    """
    _check(curve, tolerance, reach)
    end = end_of(curve)
    early = end.undecided()
    if early is not None:
        return undecided(curve, *early)
    work = Work(progress)
    try:
        within, root = search(end, max_steps, max_repairs, work)
        return judged(curve, end, within, root, tolerance, reach, max_steps, work)
    except RatesUnknownError as error:
        return undecided(curve, Verdict.NOT_SHOWN, UNKNOWN.format(error))
    except KeyboardInterrupt:
        return undecided(curve, Verdict.NOT_SHOWN, STOPPED)
    finally:
        work.close()


def _check(curve: AbstractCurve, tolerance: float, reach: float) -> None:
    for name, value in (("tolerance", tolerance), ("reach", reach)):
        if not value > 0:
            raise ValueError(f"`{name}` must be positive, but is {value}.")
    require_concrete(curve, "gflow.limit")
    require_curve(curve)
    require_homogeneous(curve, "normalized margin")
    if isinstance(curve.flow, SteepestFlow) and not curve.field.euclidean:
        raise ValueError(
            "`curve` must be that of a gradient flow, but is steepest in another norm: "
            "its limit obeys other conditions. See `gflow.kkt.bregman`, "
            "`gflow.margins.steepest`, and `gflow.reference.hard_margin` of that norm."
        )


class End(NamedTuple):
    """The end of a curve.

    Attributes:
        field: The flow there.
        degree: Of the network.
        theta: The direction, of norm one.
        margins: There.
        weights: The dual weights.
        slides: The numbers of the kinks that are slid along.
    """

    field: Field
    degree: float
    theta: Float64[np.ndarray, " weights"]
    margins: Float64[np.ndarray, " margins"]
    weights: Float64[np.ndarray, " margins"]
    slides: Int[np.ndarray, " kinks"]

    @property
    def margin(self) -> float:
        """The smallest of the margins."""
        return float(np.min(self.margins))

    def undecided(self) -> tuple[Verdict, str] | None:
        """Why no limit can be looked for from here, if there is a reason."""
        if self.margin <= 0:
            return Verdict.NOT_YET, (
                f"{np.sum(self.margins <= 0)} of {len(self.margins)} margins are not "
                "positive at the end of the curve: the samples are not fitted."
            )
        if any_wrong(self.field, self.theta):
            return Verdict.NOT_SHOWN, CUT
        if self.slides.size > 0 and not self.field.straight:
            return Verdict.NOT_SHOWN, BEHIND.format(self.slides.size)
        return None


def end_of(curve: AbstractCurve) -> End:
    """Where a curve ends that has a degree."""
    assert curve.degree is not None
    leaves = jax.tree.leaves(_tree.parameters(curve.direction))
    theta = np.concatenate([np.ravel(np.asarray(leaf)[-1]) for leaf in leaves])
    theta = theta / np.linalg.norm(theta)
    field = curve.field
    margins = np.asarray(curve.flow.margins(field.network(jnp.asarray(theta))))
    slides = np.asarray(field.gates.slides)
    return End(
        field=field,
        degree=float(curve.degree),
        theta=theta,
        margins=margins,
        weights=weights_at_end(curve, field, margins),
        slides=slides[slides >= 0],
    )


def weights_at_end(curve: AbstractCurve, field: Field, margins):
    """The dual weights of the last point; of a descent, far out, from its margins."""
    weights = np.array(curve.weights[-1])
    if np.all(np.isfinite(weights)):
        return weights
    seen = jnp.ones(margins.shape, bool)
    return np.array(field.dual_weights(margins, curve.log_radius[-1], seen))


def search(
    end: End, max_steps: int, max_repairs: int, work: Work
) -> tuple[Restricted, Root]:
    """A stationary direction on the kinks of those samples that are active there.

    Kinks of other samples that the flow slides along hold nothing in the limit.
    """
    field, theta, slides = end.field, end.theta, end.slides
    work.begin("Newton's method")
    while True:
        within = restricted(field, theta, slides)
        model, start = Model(within, end.margin, work), np.asarray(within.narrow(theta))
        root = stationary(model, start, end.weights, max_steps, max_repairs)
        margins, _ = model.jacobian(root.theta)
        active = (root.multipliers > 0) | (margins < 1 + ON_MARGIN)
        samples = of_samples(field, np.flatnonzero(active))
        holds = samples[slides // max(field.kinks.count, 1)]
        if np.all(holds) or not root.converged:
            return within, root
        theta, slides = np.asarray(within.wide(root.theta)), slides[holds]


def judged(
    curve: AbstractCurve,
    end: End,
    within: Restricted,
    root: Root,
    tolerance: float,
    reach: float,
    max_steps: int,
    work: Work,
) -> Limit:
    """What is known once a root was looked for, on the kinks that were kept to."""
    degree, model = end.degree, Model(within, end.margin, work)
    work.begin("growth of deviations")
    start = np.asarray(within.narrow(end.theta))
    view = analysis(model, start, end.weights, root, degree, reach, max_steps)
    found = residuals(model, view.theta, view.multipliers, degree)
    if not found.margin > 0:
        return undecided(curve, Verdict.NOT_YET, UNFITTED)
    point, growing = np.asarray(within.wide(found.theta)), within.wide(view.vectors.T)
    direction = end.field.network(jnp.asarray(point))
    carrying = np.union1d(found.active, np.flatnonzero(found.multipliers > 0))
    kinks = crossings(
        within.field, point, found.multipliers, carrying, np.asarray(growing), degree
    )
    found = with_kinks(found, kinks, np.asarray(curve.flow.margins(direction)), degree)
    verdict, reasons = judge(
        view, found, kinks, drift_of(curve), end.margin, tolerance, reach
    )
    rates, ways = view.exponents * degree * found.margin, end.field.network(growing)
    tail = float(curve.flow.loss.tail)
    log_scale = degree * float(curve.log_radius[-1])  # log R
    log_log_t = tail * (log_scale + math.log(found.margin))
    return Limit(
        verdict=verdict,
        reasons=tuple(reasons),
        point=point_at(curve, direction, found.multipliers, within.field.gates),
        margin=found.margin,
        distance=view.distance,
        certificate=certificate(found, kinks),
        stability=stability(view, verdict, rates, ways, log_log_t, tail * degree),
    )


def with_kinks(found: Residuals, kinks: Crossings, margins, degree) -> Residuals:
    """Residuals that know of gates in between, and of the network's own margins."""
    length = found.margin ** (-1 / degree)
    behind = 1 - float(np.min(margins)) / found.margin
    return found._replace(
        stationarity=max(found.stationarity, length * kinks.residual),
        drift=max(found.drift, kinks.residual),
        infeasibility=max(found.infeasibility, behind),
    )
