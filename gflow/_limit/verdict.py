"""From numbers to a verdict, and its grounds in words."""

import math

import numpy as np

from .analysis import Analysis
from .drift import Drift
from .kinks import Crossings
from .residuals import Residuals
from .result import Verdict


PASSED = 1e-9  # relative: above its margin a flow cannot tend to a limit
LASTING = 0.9  # the share of a drift that is no less than before


def judge(
    view: Analysis,
    found: Residuals,
    kinks: Crossings,
    drift: Drift | None,
    end: float,
    tolerance: float,
    reach: float,
) -> tuple[Verdict, list[str]]:
    """The verdict on a direction, and the sentences that give its grounds.

    Args:
        view: The direction, and its rates.
        found: Its residuals.
        kinks: What its kinks have to say.
        drift: How far the direction went lately, if known.
        end: The normalized margin at the end of the curve.
        tolerance: The largest residual of a limit.
        reach: The largest distance from it, in radians.
    """
    if not view.near:
        return Verdict.NOT_YET, [*far(view, reach), *wandering(drift, reach)]
    worst = max(found.drift, found.infeasibility)
    here = (
        f"A stationary direction of margin {found.margin:.13g} lies "
        f"{view.distance:.1e} rad from the end, with residual {worst:.1e}."
    )
    mistaken = wrong_sides(kinks)
    if mistaken:
        return Verdict.NOT_YET, [here, mistaken]
    grows = view.unstable and not kinks.bends  # else by derivatives of one side
    if worst <= tolerance and grows and view.leaves and kinks.leaves:
        return Verdict.SADDLE, [here, leaving(view)]
    objection = objection_to(view, found, end, worst, tolerance, bool(grows))
    turns = wandering(drift, reach)
    if objection:
        return Verdict.NOT_YET, [here, objection, *turns]
    if view.neutral and turns:  # the flow may be moving along flat directions
        return Verdict.NOT_YET, [here, *turns]
    if kinks.units or kinks.open or kinks.bends:
        return Verdict.FIRST_ORDER, [here, *unknown(kinks, view.unstable)]
    return Verdict.LOCAL_MAXIMUM, [here, *sliding(kinks), *staying(view)]


def wrong_sides(kinks: Crossings) -> str:
    """Why a direction is none of the network with its kinks; empty if it is one."""
    if kinks.wrong:
        those = "gate is" if kinks.wrong == 1 else "gates are"
        return (
            f"{kinks.wrong} {those} on the wrong side there: it is a stationary "
            "direction of other gates, not of the flow."
        )
    if kinks.outside:
        return (
            f"Of {len(kinks.slides)} multipliers of kinks that are slid along "
            f"{kinks.outside} lie outside of [0, 1] there: the flow leaves these kinks."
        )
    return ""


def sliding(kinks: Crossings) -> list[str]:
    """That deviations from kinks decay."""
    if len(kinks.slides) == 0:
        return []
    words = (
        f"It lies on {len(kinks.slides)} kinks with multipliers from "
        f"{np.min(kinks.gates):.4g} to {np.max(kinks.gates):.4g}: deviations that "
        "leave them decay at first order."
    )
    return [words]


def unknown(kinks: Crossings, unstable: int) -> list[str]:
    """Which deviations are not shown to decay."""
    decay = "All deviations that keep to the sides of the kinks decay, or are flat."
    grow = f"Deviations grow along {unstable} directions, by derivatives of one side."
    reasons = [grow if unstable else decay]
    if kinks.units:
        those = "unit is" if kinks.units == 1 else "units are"
        off = (
            f"{kinks.units} {those} zero or at a kink there: deviations that switch on "
            "what is off are not shown to decay, and may raise the margin."
        )
        reasons.append(off)
    if kinks.bends:
        bend = (
            f"{kinks.bends} active margins have second derivatives that jump there, as "
            "at the zero of a squared ReLU: deviations beyond are not shown to decay, "
            "and may raise the margin."
        )
        reasons.append(bend)
    if kinks.open:
        edge = (
            f"Of {len(kinks.slides)} multipliers of kinks that are slid along "
            f"{kinks.open} do not lie between 0 and 1: deviations that leave these "
            "kinks are not shown to decay."
        )
        reasons.append(edge)
    return reasons


def objection_to(view, found, end, worst, tolerance, grows: bool) -> str:
    """Why a stationary direction is no certified limit; empty if it is one."""
    if not worst <= tolerance:
        return f"That is above `tolerance` = {tolerance:.1e}."
    if grows and view.leaves:
        return (
            "Deviations grow along directions that cross kinks, where other gates "
            "hold: the second order decides nothing."
        )
    if grows:
        return (
            "Deviations grow along directions in which margins that are active and "
            "carry no multiplier stand in the way: the second order decides nothing."
        )
    if not view.surface:
        return (
            f"The margin is flat to second order along {view.neutral} directions that "
            "lead along no surface of stationary directions: the flow need not "
            "converge."
        )
    if end > found.margin * (1 + PASSED):
        return (
            f"The margin at the end, {end:.13g}, is larger already, and the flow does "
            "not come back."
        )
    return ""


def staying(view: Analysis) -> list[str]:
    """How a local maximum is approached."""
    decaying = view.exponents[view.unstable + view.neutral :]
    decay = f", the slowest like r^{decaying[0]:.4g}" if len(decaying) else ""
    reasons = [f"It is a local maximum of the margin: every deviation decays{decay}."]
    if view.neutral:
        surface = (
            f"It is one of a surface of {view.neutral} dimensions of equals, such as a "
            "symmetry of the network makes."
        )
        reasons.append(surface)
    return reasons


def leaving(view: Analysis) -> str:
    """How a saddle is left."""
    return (
        f"It is a saddle: deviations grow along {view.unstable} directions, the "
        f"fastest like r^{view.exponents[0]:.4g}; they have come to "
        f"{view.amplitude:.1e} rad, and will be large when log r has grown by about "
        f"{view.wait:.3g}. Solve on, and ask again."
    )


def wandering(drift: Drift | None, reach: float) -> list[str]:
    """That the direction goes on turning, if it does."""
    if drift is None or drift.last < max(reach, LASTING * drift.before):
        return []
    words = (
        f"The direction went {drift.last:.2g} rad while log r doubled last, and "
        f"{drift.before:.2g} rad in the doubling before: as long as that does not "
        "fall, it does not converge."
    )
    return [words]


def far(view: Analysis, reach: float) -> list[str]:
    """Why no stationary direction is named."""
    reasons = ["Newton's method found no stationary direction near the end."]
    if view.root.converged:
        found = (
            f"The stationary direction that was found is {view.distance:.2g} rad from "
            f"the end of the curve, beyond `reach` = {reach:g}."
        )
        reasons = [found]
    if view.unstable:
        growth = (
            f"Deviations grow along {view.unstable} directions, the fastest like "
            f"r^{view.exponents[0]:.4g}: the flow is leaving for another place."
        )
        reasons.append(growth)
    if math.isfinite(view.wait):
        reasons.append(f"Look again when log r has grown by about {view.wait:.3g}.")
    return reasons
