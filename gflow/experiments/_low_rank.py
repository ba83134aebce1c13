import math

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import checked_count
from ._checks import checked_number, checked_rtol
from ._finding import Finding, Row
from ._run import TOLERANCES, follow, measured


class LeakyLayer(eqx.Module):
    r"""$\sum_j a_j \phi(\langle w_j, x \rangle)$ with fixed $a$: of degree 1."""

    inner: jax.Array
    outer: "gflow.nn.Fixed"
    slope: float = eqx.field(static=True)

    def __call__(self, x):
        return jnp.dot(self.outer.value, jax.nn.leaky_relu(self.inner @ x, self.slope))

    def units(self):
        """Each neuron is small or large as a whole."""
        return (("neuron", None),)


def low_rank(
    *,
    samples: int = 8,
    width: int = 6,
    slope: float = 0.5,
    scale: float = 0.1,
    seed: int = 0,
    rtol: float = 1e-6,
    max_steps: int = 10_000,
) -> Finding:
    r"""A leaky ReLU network on nearly orthogonal data ends with two kinds of neurons.

    The outer weights are $\pm 1/\sqrt m$, half each, and fixed. The points have length
    1 and inner products of up to $0.9\, g^3 / 3 n$, with $g$ = `slope`: there the
    theorem holds. All neurons of one sign become one vector, with multipliers from a
    linear system.

    Args:
        samples: How many points, at least 2; labels alternate.
        width: $m$, even.
        slope: $g$, 0.1 to 0.9.
        scale: Of the inner weights at the start, 1e-100 to 10.
        seed: Of the points and the weights.
        rtol: The tolerance of the solve.
        max_steps: Of the solve.

    Returns:
        Rows on the margin, the neurons, their rank and the dual weights at $R = |w| =
        10^{20}$, and on the bounds of the multipliers.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `gflow.experiments.low_rank(slope=0.2, samples=12)`

    References:
        Frei, Vardi, Bartlett, Srebro and Hu (2022), on the implicit bias of leaky ReLU
        networks on nearly orthogonal data, arXiv:2210.07082.
    """
    samples, width = checked_count(samples, "samples", 2), checked_count(width, "width")
    if width % 2:
        raise ValueError(
            f"`width` must be even, half of each sign, but is {width}. Pass one more."
        )
    slope = checked_number(slope, "slope", 0.1, 0.9, "1 is a linear network.")
    scale = checked_number(scale, "scale", 1e-100, 10.0, "Pass 1.0 or less.")
    rtol, seed = checked_rtol(rtol), checked_count(seed, "seed", 0)
    random = np.random.default_rng(seed)
    x, y = nearly_orthogonal(random, samples, 0.9 * slope**3 / (3 * samples))
    signs = np.where(np.arange(width) % 2, -1.0, 1.0)
    inner = scale * random.normal(size=(width, samples))
    outer = gflow.nn.Fixed(jnp.asarray(signs / math.sqrt(width)))
    network = LeakyLayer(jnp.asarray(inner), outer, slope)
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    until = gflow.Until(log_margin_scale=20 * math.log(10))
    curve = follow(flow, network, until, rtol=rtol, max_steps=max_steps)
    neurons, multipliers = solution(x, y, signs, slope)
    size = float(np.linalg.norm(neurons))

    def found():
        end = np.asarray(curve.direction.inner[-1])
        spectrum = np.append(np.linalg.svd(end, compute_uv=False), 0.0)  # of two
        off = np.linalg.norm(end - neurons / size)
        shares = multipliers / np.sum(multipliers)
        miss = np.max(np.abs(np.asarray(curve.weights[-1]) / shares - 1))
        margin = gflow.margins.normalized(curve[-1])
        return margin, off, spectrum[2] / spectrum[0], miss

    margin, off, third, miss = measured(curve, 4, found)
    allowed, worst = TOLERANCES * rtol, float(np.max(multipliers))
    rows = (
        Row("normalized margin, as t -> inf", 1 / size, margin, allowed),
        Row("|direction - predicted|, as t -> inf", 0.0, off, allowed),
        Row("third singular value / first", 0.0, third, allowed),
        Row("|dual weights / exact ones - 1|", 0.0, miss, allowed),
        Row("least multiplier", 0.5, float(np.min(multipliers)), 0.0, ">="),
        Row("largest multiplier", 1.5 / slope**2, worst, 0.0, "<="),
    )
    return Finding(
        name="low_rank",
        claim="On nearly orthogonal data a leaky ReLU network tends to weights of rank "
        "two at most, all neurons of one sign alike, and every point is a support "
        "vector.",
        source="Frei, Vardi, Bartlett, Srebro and Hu (2022), arXiv:2210.07082",
        settings={"samples": samples, "width": width, "slope": slope, "scale": scale,
                  "seed": seed, "rtol": rtol},
        rows=rows,
        curves=(curve,),
    )  # fmt: skip


def nearly_orthogonal(random, samples, most):
    """Points of length 1 with inner products within `most`, and alternating labels."""
    gram = np.triu(random.uniform(-most, most, (samples, samples)), 1)
    factor = np.linalg.cholesky(gram + gram.T + np.eye(samples))
    turn, _ = np.linalg.qr(random.normal(size=(samples, samples)))
    return factor @ turn.T, np.where(np.arange(samples) % 2, -1.0, 1.0)


def solution(x, y, signs, slope):
    r"""The neurons of the KKT point of norm $\sqrt{\sum \lambda}$, and $\lambda$.

    A neuron of sign $s$ is on at the points of label $s$, and has slope $g$ at others.
    """
    slopes = [np.where(y == s, 1.0, slope) for s in (1.0, -1.0)]
    kernel = sum(np.outer(y * p, y * p) for p in slopes) * (x @ x.T) / 2
    multipliers = np.linalg.solve(kernel, np.ones(len(y)))
    plus, minus = ((multipliers * y * p) @ x for p in slopes)
    kinds = np.where(signs[:, None] > 0, plus, -minus)
    return kinds / math.sqrt(len(signs)), multipliers
