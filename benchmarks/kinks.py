"""At the limit of a ReLU network: is it a KKT point, and who can see that?

The toy problem of 20 points and 10 ReLUs, followed to R = 1e130. The limit lies on
kinks, where the flow slides. There the KKT residual goes to zero with the minimum-norm
element of Clarke's subdifferential, and not with the one-sided gradient that JAX takes.

    python -m benchmarks.kinks           # from the root of the repository
"""

import argparse
import functools
import math
import os


# Before NumPy loads: several BLAS threads make small factorizations far slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path

import gflow
import jax
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from benchmarks import _bench


FIGURE = Path(__file__).parent / "figures" / "kinks.png"
COLUMNS = ("case", "steps", "rejected", "free", "sliding", "jax", "min_norm", "best")
COLUMNS += ("solve_seconds", "seconds", "ok", "missed")
BLUE, ORANGE, GRAY = "#08519c", "#d95f02", "#555555"


def toy():
    """The points and weights of `gflow.problems.relu2`, with plain ReLUs."""
    flow, network = gflow.problems.relu2()
    assert isinstance(network, gflow.nn.MLP)
    return flow, gflow.nn.MLP.from_weights(network.weights, power=1)


def residuals(flow, curve, elements):
    """Stationarity by JAX's gradient, and by given elements."""

    def both(network, log_radius, weights, element):
        one_sided = gflow.kkt_residual(flow, network, log_radius, weights)
        shortest = gflow.kkt_residual(flow, network, log_radius, weights, element)
        return one_sided.stationarity, shortest.stationarity

    found = curve.map(both, curve.log_radius, curve.weights, elements)
    return [np.asarray(array) for array in found]


def measure(log10_scale):
    """The row of a run, and what is drawn of it."""
    flow, network = toy()
    end = gflow.Until(log_margin_scale=log10_scale * math.log(10))
    curve = gflow.solve(flow, network, until=end, rtol=1e-6, progress=False)
    find = functools.partial(gflow.min_norm_subgradients, flow, curve)
    find()
    seconds, _, found = _bench.timed(find)
    one_sided, shortest = residuals(flow, curve, found.element)
    best = gflow.clarke_kkt_residual(flow, last(curve), within=1e-6)
    opened = np.asarray(found.gates[-1])
    row = {
        "case": f"toy ReLU, R = 1e{log10_scale:g}",
        "samples": len(curve.tau),
        "steps": curve.stats["steps"],
        "rejected": curve.stats["rejected"],
        "free": int(found.free[-1]),
        "sliding": int(np.sum((opened > 1e-3) & (opened < 1 - 1e-3))),
        "jax": float(one_sided[-1]),
        "min_norm": float(shortest[-1]),
        "best": float(best.stationarity),
        "solve_seconds": curve.stats["run_seconds"],
        "seconds": seconds,
        "ok": bool(curve.result == gflow.RESULTS.successful),
    }
    log10_scales = curve.degree * np.asarray(curve.log_radius) / math.log(10)
    return row, (log10_scales, one_sided, shortest)


def last(curve):
    """The network of norm one at the end."""
    return jax.tree.map(
        lambda leaf: leaf[-1] if np.ndim(leaf) > 0 else leaf, curve.direction
    )


def draw(scale, one_sided, shortest):
    """The residuals against the scale of the margins."""
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    ax = figure.subplots()
    lines = (one_sided, ORANGE, "JAX's gradient"), (shortest, BLUE, "minimum norm")
    for values, color, name in lines:
        ax.plot(scale, values, color=color, lw=2.2)
        where = (scale[-1], 1.35 * values[-1], name)
        ax.text(*where, color=color, fontsize=13, ha="right")
    ax.set_yscale("log")
    ax.set_xlim(0, scale[-1])
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"$10^{{{v:g}}}$"))
    ax.yaxis.set_minor_locator(ticker.NullLocator())
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=13, length=4)
    ax.set_xlabel(r"$R = |w|^2$", fontsize=14)
    ax.set_title("KKT residual of a ReLU network", loc="left", fontsize=15)
    ax.set_title("20 points, 10 ReLUs", loc="right", fontsize=13, color=GRAY)
    return figure


def main(log10_scale=130, figure=None):
    """Measure a run, print its row, draw it, and return the rows."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    row, drawn = measure(log10_scale)
    limits = {"min_norm": 1e-6} if log10_scale >= 130 else {}
    rows = [_bench.emit(_bench.judged(row, **limits))]
    if figure is not None:
        draw(*drawn).savefig(figure, dpi=160)
    _bench.table(rows, COLUMNS)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", default=FIGURE, help="where the picture goes")
    main(**vars(parser.parse_args()))
