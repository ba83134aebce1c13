import math

import gflow
import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from .._checks import checked_count
from ._checks import checked_number, checked_rtol
from ._finding import Finding, Row
from ._run import follow, measured


MOST = 1e8
"""Bounds on what is of order one in units of R are looked at while R is below: rounding
of the margin, 1e-16, is 1e-8 of it there."""


def margin_growth(
    *,
    width: int = 10,
    power: int = 2,
    samples: int = 20,
    features: int = 10,
    scale: float = 1.0,
    seed: int = 0,
    rtol: float = 1e-6,
    max_steps: int = 10_000,
) -> Finding:
    r"""The smoothed margin grows, and the direction becomes a KKT point.

    A two-layer network of powers of ReLUs on separable points under the exponential
    loss, from where every sample is fitted to $R = |w|^L = 10^{30}$.

    Args:
        width: How many hidden units.
        power: Of the ReLUs, at least 2: the theorems on the alignment need smooth ones.
        samples: How many points.
        features: Their dimension.
        scale: Of the weights at the start, 1e-100 to 10.
        seed: Of the points and the weights.
        rtol: The tolerance of the solve.
        max_steps: Of the solve.

    Returns:
        Rows on the growth of the margin, on how near it is to that of the worst
        sample, and on the two residuals of the KKT conditions.

    Raises:
        ValueError: If an argument is out of its range, or the flow loses a sample for
            good.

    Example:
        `gflow.experiments.margin_growth(power=3, seed=1)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890. Tsilivis, Vardi and Kempe (2025), "Flavors of
        margin: implicit bias of steepest descent in homogeneous neural networks",
        arXiv:2410.22069, for the sum of slacks.
    """
    width, power = checked_count(width, "width"), checked_count(power, "power", 2)
    checked_number(scale, "scale", 1e-100, 10.0, "Pass 1.0 or less.")
    rtol, seed = checked_rtol(rtol), checked_count(seed, "seed", 0)
    samples = checked_count(samples, "samples", 2)
    x, y = gflow.data.separable(samples, features, shift=0.2, seed=seed)
    network = gflow.nn.MLP(features, (width,), power=power, key=jax.random.key(seed))
    network = jax.tree.map(lambda leaf: scale * leaf, network)
    flow = gflow.GradientFlow(gflow.Exponential(), x, y)
    until = gflow.Until(log_margin_scale=30 * math.log(10))
    curve = follow(flow, network, until, rtol=rtol, max_steps=max_steps)
    fall, gap, least, mean, slack, nearest, chord = measured(
        curve, 7, lambda: (*bounded(curve), *nearest_kkt(curve[-1]))
    )
    rows = (
        Row("largest fall of log smoothed margin", 0.0, fall, rtol),
        Row("(margin - smoothed margin) R / log n", 1.0, gap, MOST * 1e-15, "<="),
        Row("least tan^2 of angle(w, gradient)", mean, least, 0.0, "<="),
        Row("sum of KKT slacks / bound (R < 1e8)", 1.0, slack, rtol, "<="),
        Row("KKT stationarity at the end, by SciPy", chord, nearest, 1e-12, "<=", 1.0),
    )
    return Finding(
        name="margin_growth",
        claim="Once all is fitted the smoothed margin never falls, and stays within "
        "log n / R of the margin; the weights align with the gradient, and so are "
        "ever more nearly a KKT point of the max-margin problem.",
        source="Lyu and Li (2020), arXiv:1906.05890; Tsilivis, Vardi and Kempe (2025), "
        "arXiv:2410.22069",
        settings={"width": width, "power": power, "samples": samples,
                  "features": features, "scale": scale, "seed": seed, "rtol": rtol},
        rows=rows,
        curves=(curve,),
    )  # fmt: skip


def bounded(curve):
    """Fall, gap, least tangent and its bound, slack: where all samples are fitted."""
    degree, samples = curve.degree, curve.flow.samples
    log_radius = np.asarray(curve.log_radius)
    smoothed, normalized, turning = (
        np.asarray(curve.map(quantity))
        for quantity in (
            gflow.margins.smoothed, gflow.margins.normalized, gflow.kkt.turning
        )
    )  # fmt: skip
    # A loss below 1, as a sum: alpha > 0. It is looked at where log alpha has digits.
    late = np.asarray(curve.log_loss) + math.log(samples) < -0.3
    if np.sum(late) < 2:
        raise ValueError(
            "`seed` must give a flow that fits all points, of which the theorem speaks,"
            f" but the loss stays at exp({float(curve.log_loss[-1]):.3g}). Pass another"
            ", or a larger `width`."
        )
    growth = np.diff(np.log(smoothed[late]))
    # Its integral over log r is at most log(growth) / L.
    mean = np.sum(growth) / (degree * np.ptp(log_radius[late]))
    mid = late & (degree * log_radius < math.log(MOST))
    size = np.exp(degree * log_radius[mid])
    gap = (normalized - smoothed)[mid] * size / math.log(samples)
    most = samples * normalized[mid] ** (-2 / degree)
    most /= math.e * degree * size * smoothed[mid]
    slack = np.asarray(curve.map(gflow.kkt.residual).slack_sum)[mid] / most
    fall = max(0.0, -float(np.min(growth)))
    return fall, np.max(gap), np.min(turning[late] ** 2), mean, np.max(slack)


def nearest_kkt(point):
    """The stationarity with the best multipliers, and the cosine's bound of it."""
    margin = float(gflow.margins.normalized(point))
    scale = margin ** (-1 / point.degree)
    feasible = jax.tree.map(lambda leaf: scale * leaf, point.direction)
    weights, unravel = ravel_pytree(feasible)
    rows = np.asarray(jax.jacobian(lambda w: point.flow.margins(unravel(w)))(weights))
    multipliers = gflow.reference.nonnegative_multipliers(weights, rows)
    nearest = np.linalg.norm(weights - multipliers @ rows)
    tangent = float(gflow.kkt.turning(point))
    cosine = 1 / math.hypot(1, tangent)
    return nearest, scale * tangent * cosine * math.sqrt(2 / (1 + cosine))
