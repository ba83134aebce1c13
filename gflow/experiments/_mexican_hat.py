import math

import gflow
import numpy as np
import scipy

from ._checks import checked_number, checked_rtol
from ._finding import Finding, Row
from ._run import TOLERANCES, follow, measured


def mexican_hat(
    *,
    log_radius: float = 1e5,
    sine: float = 0.8,
    psi: float = 0.1,
    rtol: float = 1e-8,
    max_steps: int = 10_000,
) -> Finding:
    r"""A homogeneous network whose margin converges, and whose direction does not.

    The flow of `gflow.problems.mexican_hat` falls into a valley of the sphere that
    winds around a circle for ever. In the angles $U = 1/c$ and $\psi = \varphi - U$ of
    that problem it is two equations, which SciPy's Radau solves in $\log\log r$.

    Args:
        log_radius: $\log r$ at the end, 10 to 1e8.
        sine: $s$ at the start, 0.5 to 0.9.
        psi: $\psi$ at the start, 0.01 to 3: away from 0, off which rounding throws it.
        rtol: The tolerance of the solve.
        max_steps: Of the solve.

    Returns:
        Rows on where the direction is, how far it has come, and the margin.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `gflow.experiments.mexican_hat(log_radius=1e7)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890.
    """
    end = checked_number(log_radius, "log_radius", 10.0, 1e8, "Beyond, it takes long.")
    sine = checked_number(sine, "sine", 0.5, 0.9, "Elsewhere the hat is too flat.")
    psi = checked_number(psi, "psi", 0.01, 3.0, "Near 0 rounding decides.")
    rtol = checked_rtol(rtol)
    flow, network = gflow.problems.mexican_hat(sine=sine, psi=psi)
    until = gflow.Until(log_radius=end)
    curve = follow(flow, network, until, rtol=rtol, max_steps=max_steps)
    start = 1 / (1 - sine**2)
    (steep,), (phase,) = valley([math.log(end)], start, psi)
    turns = (steep + phase - start - psi) / (2 * math.pi)

    def found():
        one, two, three = np.asarray(curve.direction.weights).T
        angle = np.unwrap(np.arctan2(two, one))
        around = (angle[-1] - angle[0]) / (2 * math.pi)
        margin = np.asarray(curve.map(gflow.margins.normalized))
        fall = max(0.0, -float(np.min(np.diff(margin))))
        shortest = abs(np.sqrt(one**2 + two**2).min() * (angle[-1] - angle[0]))
        length = gflow.paths.length(curve)[-1] / shortest
        return 1 / three[-1] ** 2, around, fall, margin[-1], length

    height, around, fall, margin, length = measured(curve, 5, found)
    # An angle of the direction is right to rtol, and U = 1 / c moves 2 U^1.5 as much.
    allowed = TOLERANCES * rtol * 2 * steep**1.5
    rows = (
        Row("1 / c at the end, by SciPy", steep, height, allowed, unit=1.0),
        Row("turns around the circle, by SciPy", turns, around, allowed, unit=1.0),
        Row("largest fall of the margin", 0.0, fall, 1e-15),
        Row("margin at the end, 1 as t -> inf", 1 - 2 * math.exp(-steep), margin,
            TOLERANCES * rtol, ">="),
        Row("path length / that of its turns", 1.0, length, rtol, ">="),
    )  # fmt: skip
    return Finding(
        name="mexican_hat",
        claim="Where a network is not definable the direction need not converge: along "
        "a valley that winds around a circle for ever the margin tends to its largest "
        "value, and every point of the circle is a limit point.",
        source="Lyu and Li (2020), arXiv:1906.05890",
        settings={"log_radius": end, "sine": sine, "psi": psi, "rtol": rtol},
        rows=rows,
        curves=(curve,),
    )


def valley(log_log_r, steep, psi):
    r"""$1 / c$ and $\psi$ at increasing $\log\log r$, for degree $L = 2$.

    $\dot\theta = -\nabla F / (L (1 - F))$ in $1/c$ and $\psi - \pi/2$: nothing
    cancels in the valley.
    """

    def velocity(log_grown, state):
        steep, off = state
        c = 1 / steep
        square = 1 - c
        bottom = 4 * square**2 + c**3
        top = c**3 + 8 * square**2 * math.sin(off / 2) ** 2
        slope = 4 * square**2 * math.sin(off)  # of `top` in the polar angle
        along_c = 3 * c**2 - 16 * square * math.sin(off / 2) ** 2 + slope / c**2
        hat_c = top / bottom / c**2 + along_c / bottom
        hat_c -= top * (3 * c**2 - 8 * square) / bottom**2
        hat = math.exp(-steep) * top / bottom
        rate = math.exp(log_grown - steep) / 2 / (1 - hat)
        steepening = 4 * square * c * hat_c * steep**2 * rate
        return [steepening, -slope / bottom / square * rate - steepening]

    found = scipy.integrate.solve_ivp(
        velocity, (-20.0, log_log_r[-1]), [steep, psi - math.pi / 2], "Radau",
        log_log_r, rtol=1e-10, atol=1e-13,
    )  # fmt: skip
    return found.y[0], found.y[1] + math.pi / 2
