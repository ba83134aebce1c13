import math

import gflow
import numpy as np

from .._checks import checked_count
from ._checks import checked_number, checked_rtol
from ._finding import Finding, Row
from ._run import TOLERANCES, follow, measured


X = np.array([[-0.75, 1.0], [-0.5, 1.0], [0.125, 1.0]])
Y = np.array([1.1, 0.1, 0.8])


def early_alignment(
    *,
    width: int = 20,
    scale: float = 1e-8,
    seed: int = 0,
    rtol: float = 1e-6,
    max_steps: int = 10_000,
) -> Finding:
    r"""Small ReLU networks align before they grow, and may never fit three points.

    A balanced two-layer network under the square loss. While it is small each neuron
    turns alone, on a circle, in closed form between one gate and the next. By
    $t_e = \ln(1/\lambda) / 2 D$, with $\lambda$ = `scale` and $D = |\sum_i y_i x_i| /
    n$, all that live and grow point almost at $\sum_i y_i x_i$. On these points all
    samples then stay in view of all: the network ends as the least-squares line.

    Args:
        width: How many hidden units, at least 2.
        scale: $\lambda$, the norm of the inner weights, 1e-100 to 1e-4.
        seed: Of the weights.
        rtol: The tolerance of the solve.
        max_steps: Of the solve.

    Returns:
        Rows on the directions of all neurons at $t_e$, and on the loss at the end.

    Raises:
        ValueError: If an argument is out of its range, or no neuron of this seed can
            grow.

    Example:
        `gflow.experiments.early_alignment(width=50, scale=1e-20)`

    References:
        Boursier and Flammarion (2024), on early alignment in two-layer networks; there
        the three points are.
    """
    width, rtol = checked_count(width, "width", 2), checked_rtol(rtol)
    fix = "Larger weights need not align."
    scale = checked_number(scale, "scale", 1e-100, 1e-4, fix)
    inner, signs, grows = neurons(checked_count(seed, "seed", 0), width, scale)
    network = gflow.nn.MLP.from_weights(
        [inner, signs * np.linalg.norm(inner, axis=1)], power=1
    )
    pull = float(np.linalg.norm(Y @ X / len(Y)))
    early = math.log(1 / scale) / (2 * pull)
    flow = gflow.GradientFlow(gflow.Square(), X, Y)
    until = gflow.Until(log_t=math.log(4 * early + 1e3))
    curve = follow(flow, network, until, rtol=rtol, max_steps=max_steps)
    exact = np.array([
        turned(math.atan2(*w[::-1]), sign, early)
        for w, sign in zip(inner, signs, strict=True)
    ])  # fmt: skip
    target = math.atan2(*(Y @ X)[::-1])

    def found():
        there = np.asarray(curve.at(log_t=math.log(early)).network.weights[0][0])
        angles = np.arctan2(there[:, 1], there[:, 0])
        aligned = np.max(np.abs(apart(angles, target))[grows])
        return np.max(np.abs(apart(angles, exact))), aligned, np.exp(curve.log_loss[-1])

    off, aligned, loss = measured(curve, 3, found)
    # What the outputs, at most scale |x| there, add to the turning (by Gronwall).
    allowed = TOLERANCES * rtol + scale * np.max(np.sum(X**2, axis=1)) / pull
    line = np.linalg.lstsq(X, Y, rcond=None)[1][0] / (2 * len(Y))
    rows = (
        Row("largest error of an angle at t_e", 0.0, off, allowed),
        Row("largest angle of growers to sum y x",
            float(np.max(np.abs(apart(exact, target))[grows])), aligned, allowed,
            unit=1.0),
        Row("loss at the end: that of the line", float(line), loss, TOLERANCES * rtol),
    )  # fmt: skip
    return Finding(
        name="early_alignment",
        claim="Before a small ReLU network grows, each of its neurons has aligned with "
        "an extremal vector of the data, or is dead; on three points all that grow "
        "become one line, and the loss stays above zero for ever.",
        source="Boursier and Flammarion (2024)",
        settings={"width": width, "scale": scale, "seed": seed, "rtol": rtol},
        rows=rows,
        curves=(curve,),
    )


def neurons(seed, width, scale):
    """Inner weights, the signs of the outer ones, and which neurons grow."""
    random = np.random.default_rng(seed)
    inner = random.normal(size=(width, 2))
    inner *= scale / np.linalg.norm(inner)
    signs = random.choice([-1.0, 1.0], width)
    grows = (signs > 0) & np.any(inner @ X.T > 0, axis=1)
    if not np.any(grows):
        raise ValueError(
            f"`seed` must give a neuron that grows, but {seed} gives none of {width}. "
            "Pass another, or a larger `width`."
        )
    return inner, signs, grows


def apart(angles, others):
    """The angle from one direction of the plane to another, from -pi to pi."""
    return np.mod(angles - others + math.pi, 2 * math.pi) - math.pi


def turned(angle, sign, time):
    r"""The direction of a neuron after a time, while the network is small.

    Between gates $\tan(\phi / 2)$, of the angle $\phi$ to the sum of $y_i x_i / n$ over
    what it sees, is multiplied by $e^{-s |D| t}$, with $s$ the sign of its output.
    """
    edges = np.add.outer(np.arctan2(X[:, 1], X[:, 0]), [math.pi / 2, -math.pi / 2])
    while True:
        sees = X @ [math.cos(angle), math.sin(angle)] > 0
        pull = (Y * sees) @ X / len(Y)
        size, target = np.linalg.norm(pull), math.atan2(pull[1], pull[0])
        if size == 0:
            return angle
        now = apart(angle, target)
        shares = np.tan(apart(edges.ravel(), target) / 2) / math.tan(now / 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            waits = -np.log(np.where(shares > 0, shares, math.nan)) / (sign * size)
        waits = np.where(waits > 1e-9, waits, math.inf)
        wait = min(float(np.min(waits)), time)
        later = 2 * math.atan(math.tan(now / 2) * math.exp(-sign * size * wait))
        time -= wait
        if time <= 0:
            return target + later
        # Just past the gate, on the other side.
        angle = target + later + 1e-12 * math.copysign(1.0, -sign * now)
