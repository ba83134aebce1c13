import math
from collections.abc import Sequence

import gflow
import numpy as np
import scipy

from .._checks import checked_count
from ._checks import checked_numbers, checked_rtol
from ._crossing import crossing
from ._finding import Finding, Row
from ._run import TOLERANCES, follow, measured


def half_learning_times(
    *,
    depth: int = 3,
    scale: float = 1e-30,
    singular_values: Sequence[float] = (4.0, 2.5, 1.5, 1.0),
    rtol: float = 1e-6,
    max_steps: int = 10_000,
) -> Finding:
    r"""Saddle to saddle: when a deep linear network has half-learned each mode.

    From a balanced start whose singular vectors are those of the target, the product
    $a$ of the $D$ equal factors of a mode of strength $s$ obeys
    $\dot a = D\, a^{2 - 2/D} (s - a)$ under the square loss.

    Args:
        depth: $D$, at least 2 layers.
        scale: Of every factor at the start, 1e-100 to 0.3.
        singular_values: Of the target, 0.1 to 100: the strengths $s$.
        rtol: The tolerance of the solve.
        max_steps: Of the solve.

    Returns:
        One row a mode: the time at which $a = s/2$, against its integral.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `gflow.experiments.half_learning_times(depth=2, scale=1e-100)`

    References:
        Saxe, McClelland and Ganguli (2014), "Exact solutions to the nonlinear dynamics
        of learning in deep linear neural networks".
    """
    depth, rtol = checked_count(depth, "depth", 2), checked_rtol(rtol)
    (scale,) = checked_numbers([scale], "scale", 1e-100, 0.3, "Pass 1e-30.")
    fix = "Scale the target, or leave weaker modes out."
    strengths = checked_numbers(singular_values, "singular_values", 0.1, 100.0, fix)
    if not scale**depth < min(strengths) / 2:
        raise ValueError(
            f"`scale` must start every mode below half of its strength, but {scale:g} "
            f"to the power {depth} is not below {min(strengths) / 2:g}. Pass less."
        )
    exact = [half_time(depth, scale, s) for s in strengths]
    n = len(strengths)
    # Inputs of length sqrt(n), so that the mean over samples is |W - S|^2 / 2.
    flow = gflow.GradientFlow(
        gflow.Square(), math.sqrt(n) * np.eye(n), math.sqrt(n) * np.diag(strengths)
    )
    network = gflow.nn.DeepLinear.from_weights([scale * np.eye(n)] * depth)
    until = gflow.Until(log_t=math.log(2 * max(exact)))
    curve = follow(flow, network, until, rtol=rtol, max_steps=max_steps)

    def learned(samples, k):
        product = np.prod([np.asarray(w)[:, k, k] for w in samples.network.weights], 0)
        return product - strengths[k] / 2

    times = measured(
        curve, n, lambda: np.exp([crossing(curve, lambda c, k=k: learned(c, k))
                                    for k in range(n)]),
    )  # fmt: skip
    rows = [
        Row(f"s = {s:g}: half-learned at t", t, seen, TOLERANCES * rtol)
        for s, t, seen in zip(strengths, exact, times, strict=True)
    ]
    return Finding(
        name="half_learning_times",
        claim="A deep linear network learns one singular value after the other, each "
        "at the time of its closed form, from any balanced and aligned start.",
        source="Saxe, McClelland and Ganguli (2014)",
        settings={
            "depth": depth,
            "scale": scale,
            "singular_values": tuple(map(float, strengths)),
            "rtol": rtol,
        },
        rows=tuple(rows),
        curves=(curve,),
    )


def half_time(depth: int, scale: float, strength: float) -> float:
    r"""$\int \mathrm db / (b^{D-1} (s - b^D))$ from the scale to $b^D = s / 2$.

    $1 / (b^{D-1} (s - b^D)) = (b^{1-D} + b / (s - b^D)) / s$: the first term, which
    is huge, is integrated by hand.
    """
    last = (strength / 2) ** (1 / depth)
    if depth == 2:
        huge = math.log(last) - math.log(scale)
    else:
        huge = (scale ** (2 - depth) - last ** (2 - depth)) / (depth - 2)
    rest, _ = scipy.integrate.quad(
        lambda b: b / (strength - b**depth), scale, last, epsabs=0, epsrel=1e-13
    )
    return (huge + rest) / strength
