"""Exact ReLUs: from near zero, along kinks, to a limit that lies on them.

Twelve points in the plane and twelve ReLUs, from weights of any scale: kinks are
crossed and slid along, and one sample is lost for good, but not from scale 1.

The toy problem of 20 points and 10 ReLUs, followed to R = 1e130: is its limit a KKT
point, and who can see that? It lies on kinks, where the flow slides. There the KKT
residual goes to zero with the motion of the flow, which is the minimum-norm element of
Clarke's subdifferential, and not with the one-sided gradient that JAX takes.

    python -m benchmarks.kinks           # from the root of the repository
"""

import argparse
import dataclasses
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
COLUMNS = ("case", "steps", "rejected", "free", "sliding", "jax", "flow", "min_norm")
COLUMNS += ("best", "solve_seconds", "seconds", "ok", "missed")
BLUE, ORANGE, GRAY = "#08519c", "#d95f02", "#555555"


def toy():
    """The points and weights of `gflow.problems.relu2`, with plain ReLUs."""
    flow, network = gflow.problems.relu2()
    assert isinstance(network, gflow.nn.MLP)
    return flow, gflow.nn.MLP.from_weights(network.weights, power=1)


SCALES = (1.0, 1e-2, 1e-8, 1e-50, 1e-100)
ATTEMPTS = (200, 250, 250, 320, 350)
"""Asked of steps, rejected ones counted; to R = exp(30) from 1, exp(60) from less."""
LOSSES = {2.0: 0.495415837, 4.0: 0.1511071063, 6.0: 0.01525863136}
"""At log t from scale 1, by SciPy's Radau at rtol 1e-9, kinks smoothed over 1e-9."""
STARTS = ("case", "steps", "rejected", "events", "slides", "error", "seconds", "missed")


def parity(scale):
    """Twelve points labeled by the signs of their products, and ReLUs of a scale."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 2))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    draw = np.asarray(jax.random.normal(jax.random.key(3), (36,)))
    w, a = draw[:24].reshape(12, 2) / np.sqrt(2), draw[24:] / np.sqrt(12)
    network = gflow.nn.MLP.from_weights([scale * w, scale * a], power=1)
    return gflow.GradientFlow(gflow.Logistic(), x, np.sign(x[:, 0] * x[:, 1])), network


def start(scale, attempts, rtol=1e-6, most=2e-5):
    """The row of a run from weights of this scale."""
    flow, network = parity(scale)
    until = gflow.Until(log_margin_scale=30.0 if scale == 1 else 60.0)
    run = functools.partial(
        gflow.solve, flow, network, until=until, rtol=rtol, progress=False
    )
    run()
    seconds, _, curve = _bench.timed(run)
    if scale == 1:
        found = np.exp(curve.at(log_t=[*LOSSES]).log_loss)
        error = float(np.max(np.abs(found / [*LOSSES.values()] - 1)))
    else:
        error = float(curve.log_loss[-1]) - math.log(math.log(2) / 12)
    steps, rejected = curve.stats["steps"], curve.stats["rejected"]
    row = {
        "case": f"12 ReLUs from scale {scale:g}, rtol {rtol:g}",
        "steps": steps,
        "rejected": rejected,
        "attempts": steps + rejected,
        "events": curve.stats["events"],
        "slides": curve.stats["slides"],
        "error": abs(error),
        "seconds": seconds,
        "ok": bool(curve.result == gflow.RESULTS.successful),
    }
    return _bench.judged(row, attempts=attempts, error=most)


def to_limit(log10_scale=43):
    """The row of the toy problem: attempts, and its margin against the limit's."""
    flow, network = toy()
    end = gflow.Until(log_margin_scale=log10_scale * math.log(10))
    run = functools.partial(gflow.solve, flow, network, until=end, progress=False)
    run()
    seconds, _, curve = _bench.timed(run)
    margin = float(gflow.margins.normalized(curve[-1]))
    tighter = float(gflow.margins.normalized(run(rtol=1e-9)[-1]))
    limit = float(gflow.limit(curve).margin)
    steps, rejected = curve.stats["steps"], curve.stats["rejected"]
    row = {
        "case": f"toy ReLU, R = 1e{log10_scale:g}, against its limit",
        "steps": steps,
        "rejected": rejected,
        "attempts": steps + rejected,
        "events": curve.stats["events"],
        "slides": curve.stats["slides"],
        "error": abs(margin / limit - 1),
        "own_error": abs(margin / tighter - 1),
        "seconds": seconds,
        "ok": bool(curve.result == gflow.RESULTS.successful),
    }
    return _bench.judged(row, attempts=360, seconds=0.6, error=1e-9)


def stationarities(point, element):
    """By JAX's gradient, by the motion of the flow, and by a given element."""
    bare = dataclasses.replace(point, sides=None, slides=None)
    of_jax, of_flow = gflow.kkt.residual(bare), gflow.kkt.residual(point)
    shortest = gflow.kkt.residual(point, element)
    return tuple(found.stationarity for found in (of_jax, of_flow, shortest))


def measure(log10_scale):
    """The row of a run, and what is drawn of it."""
    flow, network = toy()
    end = gflow.Until(log_margin_scale=log10_scale * math.log(10))
    curve = gflow.solve(flow, network, until=end, rtol=1e-6, progress=False)
    find = functools.partial(curve.map, gflow.kkt.min_norm_subgradient)
    find()
    seconds, _, found = _bench.timed(find)
    found_by = curve.map(stationarities, found.element)
    one_sided, followed, shortest = map(np.asarray, found_by)
    best = gflow.kkt.clarke(curve[-1], within=1e-6)
    opened = np.asarray(found.gates[-1])
    row = {
        "case": f"toy ReLU, R = 1e{log10_scale:g}",
        "samples": len(curve.tau),
        "steps": curve.stats["steps"],
        "rejected": curve.stats["rejected"],
        "free": int(found.free[-1]),
        "sliding": int(np.sum((opened > 1e-3) & (opened < 1 - 1e-3))),
        "jax": float(one_sided[-1]),
        "flow": float(followed[-1]),
        "min_norm": float(shortest[-1]),
        "best": float(best.stationarity),
        "solve_seconds": curve.stats["run_seconds"],
        "seconds": seconds,
        "ok": bool(curve.result == gflow.RESULTS.successful),
    }
    log10_scales = curve.degree * np.asarray(curve.log_radius) / math.log(10)
    return row, (log10_scales, one_sided, followed)


def draw(scale, one_sided, followed):
    """The residuals against the scale of the margins."""
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    ax = figure.subplots()
    lines = (one_sided, ORANGE, "JAX's gradient"), (followed, BLUE, "the flow's own")
    for values, color, name in lines:
        ax.plot(scale, values, color=color, lw=2.2)
        at = 0.6 * scale[-1]
        height = np.exp(np.interp(at, scale, np.log(values)))
        ax.text(at, 2 * height, name, color=color, fontsize=13)
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


def main(log10_scale=130, figure=None, scales=SCALES):
    """Measure the runs, print their rows, draw the last, and return the rows."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    asked = dict(zip(SCALES, ATTEMPTS, strict=True))
    starts = [start(scale, asked[scale]) for scale in scales]
    if 1.0 in scales:
        starts.insert(1, start(1.0, 2 * asked[1.0], rtol=1e-8, most=5e-7))
        starts.append(to_limit())
    starts = [_bench.emit(row) for row in starts]
    _bench.table(starts, STARTS)
    row, drawn = measure(log10_scale)
    limits = {"flow": 1e-6, "min_norm": 1e-6} if log10_scale >= 130 else {}
    rows = [_bench.emit(_bench.judged(row, **limits))]
    if figure is not None:
        draw(*drawn).savefig(figure, dpi=160)
    _bench.table(rows, COLUMNS)
    return starts + rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", default=FIGURE, help="where the picture goes")
    main(**vars(parser.parse_args()))
