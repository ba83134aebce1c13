import gflow
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import checked_count
from ._checks import checked_number, checked_rtol
from ._finding import Finding, Row
from ._run import TOLERANCES, follow, measured


def layer_alignment(
    *,
    depth: int = 3,
    width: int = 5,
    samples: int = 12,
    features: int = 6,
    scale: float = 1.0,
    seed: int = 0,
    rtol: float = 1e-6,
    max_steps: int = 10_000,
) -> Finding:
    r"""The layers of a deep linear network become of rank one and align.

    On separable points under the logistic loss, from Gaussian weights to $R = |w|^L =
    e^{70}$. There the product of the layers is compared with the hard-margin
    classifier, from a quadratic program.

    Args:
        depth: How many layers, at least 2.
        width: Of each hidden layer.
        samples: How many points.
        features: Their dimension.
        scale: Of the weights at the start, 1e-100 to 10.
        seed: Of the points and the weights.
        rtol: The tolerance of the solve.
        max_steps: Of the solve.

    Returns:
        Rows on what is conserved, on the bounds of rank and alignment at all times,
        and on the limit.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `gflow.experiments.layer_alignment(depth=4, scale=0.1)`

    References:
        Ji and Telgarsky (2018), "Gradient descent aligns the layers of deep linear
        networks", arXiv:1810.02032.
    """
    depth, rtol = checked_count(depth, "depth", 2), checked_rtol(rtol)
    scale = checked_number(scale, "scale", 1e-100, 10.0, "Pass 1.0 or less.")
    seed, width = checked_count(seed, "seed", 0), checked_count(width, "width")
    x, y = gflow.data.separable(samples, features, shift=0.2, seed=seed)
    network = gflow.nn.DeepLinear(
        features, (width,) * (depth - 1), key=jax.random.key(seed)
    )
    network = jax.tree.map(lambda leaf: scale * leaf, network)
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    until = gflow.Until(log_margin_scale=70.0)
    curve = follow(flow, network, until, rtol=rtol, max_steps=max_steps)
    best = gflow.reference.hard_margin(x, y)

    def found():
        end = curve[-1]
        angle = np.linalg.norm(gflow.layers.product_direction(end) - best.direction)
        return *bounded(curve), angle, gflow.margins.normalized(end)

    drift, rank, cosine, angle, margin = measured(curve, 5, found)
    allowed = TOLERANCES * rtol
    rows = (
        Row("drift of W'W - WW' over |w|^2", 0.0, drift, allowed),
        Row("(|W|_F^2 - |W|_2^2 - D) / |w|^2", 0.0, rank, allowed, "<="),
        Row("1 - <v, u>^2, less its bound", 0.0, cosine, allowed, "<="),
        Row("angle to the hard margin, as t -> inf", 0.0, angle, allowed),
        Row("normalized margin, as t -> inf", best.margin / depth ** (depth / 2),
            margin, allowed),
    )  # fmt: skip
    return Finding(
        name="layer_alignment",
        claim="Along the flow W'W - WW' of adjacent layers is constant, which bounds "
        "how far each is from rank one and from alignment with the next; their "
        "product tends to the direction of the largest linear margin.",
        source="Ji and Telgarsky (2018), arXiv:1810.02032",
        settings={"depth": depth, "width": width, "samples": samples,
                  "features": features, "scale": scale, "seed": seed, "rtol": rtol},
        rows=rows,
        curves=(curve,),
    )  # fmt: skip


def bounded(curve):
    """The largest drift, excess of rank, and excess of misalignment along a curve."""
    start = curve[0]
    constant, before = gflow.layers.balance(start), gflow.layers.imbalance(start)
    sizes = [jnp.linalg.norm(w.reshape(-1, w.shape[-1]), ord=2) ** 2
             for w in start.network.weights]  # fmt: skip

    def look(point):
        square = jnp.exp(2 * point.log_radius)
        drift = jnp.max(jnp.stack([
            jnp.linalg.norm(now - then)
            for now, then in zip(gflow.layers.balance(point), constant, strict=True)
        ]))  # fmt: skip
        whole = [jnp.sum(w**2) for w in point.network.weights]
        ratios = gflow.layers.spectral_ratios(point)
        rank = jnp.max(jnp.stack(whole) * (1 - ratios**2)) - before
        tops = [w * r**2 for w, r in zip(whole, ratios, strict=True)]
        bounds = [
            (before + sizes[k + 1] + sizes[k]) / tops[k + 1]
            for k in range(len(sizes) - 1)
        ]
        off = 1 - gflow.layers.alignments(point) ** 2 - jnp.stack(bounds)
        return drift / square, rank / square, jnp.max(off)

    drift, rank, off = (np.asarray(values) for values in curve.map(look))
    return np.max(drift), np.max(rank), np.nanmax(off)
