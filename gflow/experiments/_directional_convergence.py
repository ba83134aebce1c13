import math

import gflow
import numpy as np

from ._checks import checked_number, checked_rtol
from ._finding import Finding, Row
from ._run import TOLERANCES, follow, measured


def directional_convergence(
    *,
    angle: float = 0.1,
    log_growth: float = 12.0,
    rtol: float = 1e-8,
    max_steps: int = 10_000,
) -> Finding:
    r"""The direction of the weights has a finite path, by a desingularizing function.

    For $f = w_1 w_2$ on one sample, where all is known: $w = r (\cos\varphi,
    \sin\varphi)$, $\cos 2\varphi \propto r^{-2}$, the margin rises to $\tfrac12$ at
    $\pi/4$, and $\mathrm d\tilde\gamma / \mathrm d\zeta = 2 \sqrt{g (1 - g)}$ with $g =
    \tfrac12 - \tilde\gamma$: a Kurdyka-Lojasiewicz inequality of exponent $\tfrac12$.

    Args:
        angle: $\varphi$ at the start, from 0.001 to 0.75 radians.
        log_growth: The logarithm of the factor by which $r$ grows, 8 to 100.
        rtol: The tolerance of the solve.
        max_steps: Of the solve.

    Returns:
        Rows on the path, on the exponent and on the bound of the path ahead.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `gflow.experiments.directional_convergence(angle=0.5)`

    References:
        Ji and Telgarsky (2020), "Directional convergence and alignment in deep
        learning", arXiv:2006.06657, for the theorem. The closed forms are derived.
    """
    angle = checked_number(angle, "angle", 1e-3, 0.75, "At pi/4 nothing turns.")
    fix = "The exponent is fitted late, where rounding does not show yet."
    log_growth = checked_number(log_growth, "log_growth", 8.0, 100.0, fix)
    rtol = checked_rtol(rtol)
    network = gflow.nn.DeepLinear.from_weights(
        [np.array([[math.cos(angle)]]), np.array([math.sin(angle)])]
    )
    flow = gflow.GradientFlow(gflow.Exponential(), np.ones((1, 1)), np.ones(1))
    until = gflow.Until(log_radius=log_growth)
    curve = follow(flow, network, until, rtol=rtol, max_steps=max_steps)
    off, path, exponent, doubt, speed, ahead = measured(
        curve, 6, lambda: compared(curve, angle)
    )
    allowed = TOLERANCES * rtol
    rows = (
        Row("largest error of the angle", 0.0, off, allowed),
        Row("length of the whole path", math.pi / 4 - angle, path, allowed),
        Row("largest error of d(margin) / d(path)", 0.0, speed, allowed),
        Row("KL exponent, as the gap -> 0", 0.5, exponent, doubt, unit=1.0),
        Row("bound of the path ahead / the path", 1.0, ahead, allowed, ">="),
    )
    return Finding(
        name="directional_convergence",
        claim="Per radian of its path the margin rises at least as fast as a power "
        "below 1 of what it still lacks: so the path is finite, and the direction "
        "converges.",
        source="Ji and Telgarsky (2020), arXiv:2006.06657; for two weights in closed "
        "form",
        settings={"angle": angle, "log_growth": log_growth, "rtol": rtol},
        rows=rows,
        curves=(curve,),
        limit=gflow.limit(curve) if curve.result == gflow.RESULTS.successful else None,
    )


def compared(curve, angle):
    """Error of the angle, path, exponent and its doubt, error of speed, bound ahead."""
    grown = np.maximum(curve.log_radius, 0.0)  # rounding of the start
    exact = gflow.reference.two_weights(angle, grown)
    one, two = (np.ravel(weight) for weight in curve.direction.weights)
    off = np.max(np.abs(np.arctan2(two, one) - exact.angle))
    law = gflow.kl.desingularize(curve)
    # Above 1e-14 the gap is that of an angle with digits.
    use = law.resolved & (np.nan_to_num(law.gap) > 1e-14)
    gap = law.gap[use]
    speed = np.max(np.abs(law.speed[use] - 2 * np.sqrt(gap * (1 - gap))))
    # d log speed / d log g = 1/2 - g / 2 (1 - g); and what the fit says of itself.
    doubt = np.max(law.gap[law.fitted]) + 2 * law.exponent_error
    remains = math.pi / 4 - angle - exact.path_length
    ahead = np.min(law.bound[use] / remains[use])
    path = gflow.paths.length(curve)[-1]
    return off, path, law.exponent, doubt, speed, ahead
