"""From a curve to its desingularizing function."""

import math

import numpy as np
from jaxtyping import Float64

from .._curve import AbstractCurve, require_homogeneous
from .._flow import GradientFlow
from .._limit import Limit, Verdict
from .._trajectory import Trajectory
from ..paths import length
from ._fit import Samples
from ._law import Law, power_law
from ._motion import FEWEST, TINY, Motion, motion
from ._psi import Psi, concave
from ._quadrature import from_end, increments
from ._result import Desingularization


ROUNDING = 1e-15  # relative, of the smoothed margin
CAPPED = 1e-9  # likewise where the solver sees R = 1e10 in place of more
CLEAR = 1e4  # times that: a difference that has digits
LOG_CAPPED = 20.0  # log R
PARTS = 4  # of each step: steps are too long for the quadratures between samples


def desingularize(
    curve: AbstractCurve,
    limit: Limit | None = None,
    *,
    discord: float = 0.01,
    decades: float = 3.0,
    power: float | None = None,
) -> Desingularization:
    r"""The desingularizing function of a run, its exponent, and the path that remains.

    A function $\Psi$ of the gap $a - \tilde\gamma$, with $\Psi(0) = 0$ and
    $\Psi'(a - \tilde\gamma)\, \mathrm d\tilde\gamma / \mathrm d\zeta \geq 1$ along the
    flow, bounds the path that remains:

    $$\zeta_\infty - \zeta \leq \Psi(a - \tilde\gamma), \qquad
      \frac{\mathrm d\tilde\gamma}{\mathrm d\zeta} = Q\,|P_\theta J^\top q|
      + \frac{L\,(B - \alpha)}{R\,|\mathrm d\theta / \mathrm d\log r|}$$

    with $B$, $Q$ as in `gflow.margins.growth` and
    `gflow.kkt.smoothed_margin_gradient`. The smallest such function is `remaining`
    against `gap`; `psi` is the smallest concave one, on the safe side between samples.
    Both speak of this run, where the inequality of Kurdyka and Lojasiewicz speaks of
    all points near the limit.

    The gap is summed backward from the last sample that the solver resolves; what
    is left there is fitted together with the exponent, or follows from `limit`. So the
    bound holds if the power law does from there on. A run that ends near a saddle does
    not show it: its gap is that to the margin of the saddle.

    Args:
        curve: What `gflow.solve` returned, all steps or many samples.
        limit: Its limit, a certified one; fixes $a$ where the run ends early.
        discord: Relative: where two measurements of the path, along the curve and by
            its rate, differ by more at most steps ahead, the solver follows noise.
        decades: How many powers of ten of the gap the exponent is fitted to.
        power: $p$ in `log_case`; by default $L / 8$, as in the proof of Ji and
            Telgarsky, recalled and not verified.

    Returns:
        The function and all that it is made of: `print` it for a summary.

    Raises:
        ValueError: If the network has no degree or the loss no exponential tail; if too
            few samples are fitted or resolved; or if `limit` is not certified.

    Example:
        `gflow.kl.desingularize(curve).exponent`

    References:
        Ji and Telgarsky (2020), "Directional convergence and alignment in deep
        learning", arXiv:2006.06657. Kurdyka (1998), "On gradients of functions
        definable in o-minimal structures". Bolte, Daniilidis, Ley and Mazet (2010),
        "Characterizations of Lojasiewicz inequalities", arXiv:0802.0826.
    """
    degree = _checked(curve, limit, discord, decades)
    every = 1
    if isinstance(curve, Trajectory) and curve.steps is not None:
        every, curve = PARTS, curve.refined(PARTS)
    power = degree / 8 if power is None else power
    return _found(curve, limit, degree, discord, decades, power, every)


def _found(
    curve: AbstractCurve,
    limit: Limit | None,
    degree: float,
    discord: float,
    decades: float,
    power: float,
    every: int,
) -> Desingularization:
    """What a curve of many samples shows, kept at one in so many."""
    first, moved = motion(curve)
    speed = moved.spherical + moved.radial(degree)
    zeta, path, spread, last = _paths(curve, first, moved, discord)
    samples = _resolved(moved, limit, degree, spread, last)
    law = power_law(samples, decades)
    gap, tail = samples.fallen + law.fit.rest, law.fit.path()
    here = slice(last + 1)
    psi = _psi(gap, path[here], speed[here], law, discord)
    with np.errstate(divide="ignore"):
        log_radial = np.log(degree * moved.excess)
    log_case = np.log(moved.spherical) - log_radial - power * moved.log_radius
    before, after = np.full(first, np.nan), np.full(len(path) - last - 1, np.nan)
    never, fitted = np.zeros(first, bool), np.arange(last + 1) > last - law.count

    def kept(*parts):
        return np.concatenate(parts)[::every]

    return Desingularization(
        zeta=zeta[::every],
        gap=kept(before, gap, after),
        speed=kept(before, speed),
        log_case=kept(before, log_case),
        resolved=kept(never, np.arange(len(path)) <= last),
        exponent=law.fit.exponent,
        exponent_error=law.error,
        factor=math.exp(law.fit.log_factor),
        fitted=kept(never, fitted, after == 0),
        tail=tail,
        remaining=kept(before, path[here] - path[last] + tail, after),
        psi=psi,
        bound=kept(before, psi(gap), np.full(len(after), psi.value[0])),
    )


def _resolved(
    moved: Motion, limit: Limit | None, degree: float, spread, last: int
) -> Samples:
    """The samples with digits, the gap at the last of them as far as it is known."""
    growth, noise = moved.growth(degree), _noise(moved, degree)
    fallen = from_end(_rises(moved, growth, noise)[:last])
    speed = moved.spherical + moved.radial(degree)
    rest = None
    if limit is not None and limit.margin - moved.margin[last] > CLEAR * noise[last]:
        rest = limit.margin - float(moved.margin[last])
    here = slice(last + 1)
    least = float(moved.excess[last])
    return Samples(fallen, speed[here], growth[here], spread[here], least, rest)


def _paths(curve: AbstractCurve, first: int, moved: Motion, discord: float):
    """The path so far, that ahead, its relative error, and the last sample with digits.

    The path is measured twice: along the curve, and as the integral of the rate by the
    weights $q$. Where the solver follows noise, they differ at most steps ahead.
    """
    zeta = length(curve)
    along = np.diff(zeta[first:])
    rate = increments(moved.turning, moved.log_radius)
    error = np.abs(rate - along) / np.maximum(np.maximum(along, rate), TINY)
    spread = np.maximum(np.append(error[0], error), np.append(error, error[-1]))
    bad = error > discord
    often = np.cumsum(bad[::-1])[::-1] >= np.arange(len(bad), 0, -1) / 2
    last = int(np.append(np.flatnonzero(bad & often), len(bad))[0])
    if last < FEWEST - 1:
        raise ValueError(
            f"`curve` must resolve its path, but after {last} samples the length "
            "of the curve and the integral of its rate differ by more than `discord` = "
            f"{discord:g}. Solve with a smaller `rtol`, and keep all steps."
        )
    if curve.steps is None:  # angles between samples are too short
        along = np.maximum(along, rate)
        zeta = np.append(zeta[: first + 1], zeta[first] + np.cumsum(along))
    return zeta, from_end(along), spread, last


def _noise(moved: Motion, degree: float) -> Float64[np.ndarray, " times"]:
    """The error of the smoothed margin as it is."""
    capped = degree * moved.log_radius > LOG_CAPPED
    return moved.margin * np.where(capped, CAPPED, ROUNDING)


def _rises(moved: Motion, growth, noise) -> Float64[np.ndarray, " steps"]:
    """How much the smoothed margin rises in each step.

    The difference, where it has digits; else the integral of its growth.
    """
    rises, difference = increments(growth, moved.log_radius), np.diff(moved.margin)
    clear = difference > CLEAR * np.maximum(noise[1:], noise[:-1])
    return np.where(clear, difference, rises)


def _psi(gap, path, speed, law: Law, discord: float) -> Psi:
    """The concave function through the resolved samples, all taken for slow."""
    speed = speed / (1 + discord)
    power = 1 - law.safe_exponent
    start = math.inf
    if power > 0:
        joined = float(np.max(1 / speed)) * law.fit.rest / power  # concave there
        start = max(law.safe_tail * (1 + discord), float(path[-1]), joined)
    back = np.flatnonzero(np.append(np.diff(gap) < 0, True))[::-1]
    return concave(gap[back], path[back] - path[-1], speed[back], start, power)


def _checked(curve: AbstractCurve, limit, discord, decades) -> float:
    flow = curve.flow
    if not isinstance(flow, GradientFlow) or getattr(flow.loss, "tail", 0) != 1:
        raise ValueError(
            "`curve.flow` must be a `gflow.GradientFlow` with an exponential tail, "
            f"such as that of `gflow.Logistic()`, but is {type(flow).__name__} with "
            f"{type(flow.loss).__name__}: its gap would have no digits."
        )
    degree = require_homogeneous(curve, "smoothed margin")
    if limit is not None and limit.verdict != Verdict.LOCAL_MAXIMUM:
        raise ValueError(
            f"`limit` must be certified, but its verdict is '{limit.verdict}'. Omit "
            "it: the gap at the end is then fitted."
        )
    for name, value in (("discord", discord), ("decades", decades)):
        if not 0 < value < math.inf:
            raise ValueError(f"`{name}` must be positive, but is {value}.")
    return degree
