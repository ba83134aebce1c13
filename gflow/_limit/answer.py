"""What is known of where a curve ends, as a `Limit`."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .. import _tree
from .._curve import AbstractCurve
from .._point import Point
from .._sides import Gates
from .analysis import Analysis
from .kinks import Crossings
from .residuals import Residuals
from .result import Certificate, Limit, Stability, Verdict


def certificate(found: Residuals, kinks: Crossings) -> Certificate:
    """What residuals and kinks say."""
    return Certificate(
        active=found.active,
        multipliers=found.multipliers,
        stationarity=found.stationarity,
        infeasibility=found.infeasibility,
        slack=found.slack,
        slack_sum=found.slack_sum,
        gap=found.gap,
        slides=kinks.slides,
        gates=kinks.gates,
    )


def stability(
    view: Analysis, verdict: Verdict, rates, directions, log_log_t: float, pace: float
) -> Stability:
    """What an analysis of stability says; `pace` is that of log log t by log r."""
    waits = {Verdict.LOCAL_MAXIMUM: math.inf, Verdict.FIRST_ORDER: math.nan}
    wait = pace * waits.get(verdict, view.wait)
    return Stability(
        rates=rates,
        directions=directions,
        unstable=view.unstable,
        neutral=view.neutral,
        amplitude=view.amplitude,
        log_log_t=log_log_t,
        log_log_t_escape=log_log_t + wait,
    )


def undecided(curve, verdict: Verdict, reason: str) -> Limit:
    """The answer where nothing but the margin at the end is known."""
    nan, last = math.nan, curve[-1]
    margins = np.asarray(last.flow.margins(last.direction))
    unknown = np.full(len(margins), nan)
    none = jax.tree.map(lambda leaf: leaf[:0], _tree.parameters(curve.direction))
    return Limit(
        verdict=verdict,
        reasons=(reason,),
        point=point_at(curve, last.direction, unknown),
        margin=float(np.min(margins)),
        distance=nan,
        certificate=Certificate(
            np.array([], int), unknown, nan, nan, nan, nan, nan,
            np.array([], int), np.array([]),
        ),
        stability=Stability(np.array([]), none, 0, 0, nan, nan, nan),
    )  # fmt: skip


def point_at(
    curve: AbstractCurve, direction: PyTree, multipliers, gates: Gates | None = None
) -> Point:
    """A direction as a point of norm one, with the weights that these give it."""
    kinks, recorded = curve[-1].known_kinks(), {}
    if gates is not None and kinks.count > 0:
        recorded = {"sides": gates.on, "slides": jnp.ravel(gates.slides)}
    return Point(
        curve.flow,
        direction,
        jnp.zeros(()),
        jnp.asarray(math.nan),
        curve.flow.log_loss(direction),
        jnp.asarray(multipliers / np.sum(multipliers)),
        degree=curve.degree,
        kinks=kinks,
        **recorded,
    )
