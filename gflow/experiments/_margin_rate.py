import math

import gflow
import numpy as np

from .._checks import checked_count
from ._checks import checked_number, checked_rtol
from ._finding import Finding, Row
from ._run import TOLERANCES, follow, measured


def margin_rate(
    *,
    features: int = 4,
    others: int = 12,
    clearance: float = 0.5,
    scale: float = 1e-3,
    seed: int = 0,
    rtol: float = 1e-10,
    max_steps: int = 10_000,
) -> Finding:
    r"""The margin of a linear classifier comes to the largest one like $1 / \log t$.

    $w(t) = \hat w \log t + \tilde w + o(1)$, with $\hat w$ the hard-margin classifier
    and $e^{-\langle \tilde w, y_i x_i \rangle} / n = \lambda_i$ on its support. The
    points here have `features` support vectors, so that this is all of $\tilde w$,
    wherever the flow starts. The rest is a power of $1/t$, the least of `clearance`
    and of the eigenvalues of $(\sqrt{\lambda_i \lambda_j} \langle x_i, x_j\rangle)$ on
    the support; what is measured is so late that it is far below `rtol`.

    Args:
        features: The dimension, at least 2, and the number of support vectors.
        others: How many more points there are.
        clearance: How much farther they are than the margin, relatively, 0.1 to 10.
        scale: Of the weights at the start, 1e-100 to 10.
        seed: Of the points and the weights.
        rtol: The tolerance of the solve.
        max_steps: Of the solve.

    Returns:
        Rows on $\tilde w$ when the rest has gone, and on what the margin lacks then, at
        4 times and at 16 times that $\log t$.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `gflow.experiments.margin_rate(features=2, seed=3)`

    References:
        Soudry et al. (2018), "The implicit bias of gradient descent on separable
        data".
    """
    features = checked_count(features, "features", 2)
    others, rtol = checked_count(others, "others", 0), checked_rtol(rtol)
    clearance = checked_number(
        clearance, "clearance", 0.1, 10.0, "Near 0 the rest decays too slowly."
    )
    scale = checked_number(scale, "scale", 1e-100, 10.0, "Pass 1.0 or less.")
    random = np.random.default_rng(checked_count(seed, "seed", 0))
    x, y, signed = points(random, features, others, clearance)
    best = np.linalg.solve(signed, np.ones(features))
    multipliers = np.linalg.solve(signed.T, best)
    beyond = np.linalg.solve(signed, -np.log(len(y) * multipliers))
    first = math.log(1e4 / rtol) / min(clearance, slowest(signed, multipliers))
    times = first * np.array([1.0, 4.0, 16.0])
    network = gflow.nn.DeepLinear.from_weights([scale * random.normal(size=features)])
    flow = gflow.GradientFlow(gflow.Exponential(), x, y)
    until = gflow.Until(log_t=float(times[-1]))
    curve = follow(flow, network, until, rtol=rtol, max_steps=max_steps)
    largest = 1 / float(np.linalg.norm(best))

    def found():
        there = curve.at(log_t=times)
        weights = np.asarray(there.network.weights[0])
        off = weights[0] - best * times[0] - beyond
        lacks = 1 - np.asarray(there.map(gflow.margins.normalized)) / largest
        return np.linalg.norm(off), *lacks

    off, *lacks = measured(curve, 1 + len(times), found)
    size, allowed = float(np.linalg.norm(best) * times[0]), TOLERANCES * rtol
    at = np.outer(times, best) + beyond
    exact = 1 - np.min(at @ signed.T, axis=1) / np.linalg.norm(at, axis=1) / largest
    rows = [Row(f"|w - w^ log t - w~|, log t = {times[0]:.0f}", 0.0, off, allowed,
                unit=size)]  # fmt: skip
    rows += [
        Row(f"1 - margin / largest, log t = {t:.0f}", gap, seen, allowed, unit=1.0)
        for t, gap, seen in zip(times, exact, lacks, strict=True)
    ]
    qp = gflow.reference.hard_margin(x, y)
    rows.append(Row("largest margin, built in and by QP", largest, qp.margin, 1e-12))
    return Finding(
        name="margin_rate",
        claim="The weights of a linear classifier are w^ log t + w~ + o(1), with w^ of "
        "largest margin and w~ fixed by its multipliers: so the margin lacks a "
        "constant over log t.",
        source="Soudry et al. (2018)",
        settings={"features": features, "others": others, "clearance": clearance,
                  "scale": scale, "seed": seed, "rtol": rtol},
        rows=tuple(rows),
        curves=(curve,),
    )  # fmt: skip


def slowest(signed, multipliers):
    """The least power of 1 / t like which margins of the support come to theirs."""
    root = np.sqrt(multipliers)[:, None] * signed
    return float(np.linalg.eigvalsh(root @ root.T)[0])


def points(random, features, others, clearance):
    """Points, labels, and the support vectors times their labels.

    These surround an axis: their mean with positive weights lies on it, so that each
    has a positive multiplier and the axis is the direction of largest margin.
    """
    around = random.normal(size=(features, features - 1))
    shares = random.uniform(0.5, 1.5, features)
    around[-1] = -shares[:-1] @ around[:-1] / shares[-1]
    support = np.column_stack([around, np.ones(features)])
    far = random.normal(size=(others, features))
    far[:, -1] = 1 + clearance + random.exponential(size=others)
    turn, _ = np.linalg.qr(random.normal(size=(features, features)))
    signed = np.vstack([support, far]) @ turn.T
    y = random.choice([-1.0, 1.0], len(signed))
    return y[:, None] * signed, y, signed[:features]
