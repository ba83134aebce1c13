"""ReLU networks of many units: what do thousands of kinks cost?

A hundred points in twenty dimensions and two-layer networks of more and more ReLUs: a
step passes hundreds of kinks, and needs no more attempts for that. The end is compared
with that of a run at a tenth of the tolerance. Then images of the digits 3 and 8, with
two layers and with four, to R = 1e30.

    python -m benchmarks.relus                    # from the root of the repository
    python -m benchmarks.relus --widths 16 64     # without the slow ones
"""

import argparse
import math
import os


# Before NumPy loads: several BLAS threads make small factorizations far slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import gflow
import jax
import numpy as np

from benchmarks import _bench


WIDTHS = (16, 64, 256, 1024)
COMPARED = 64
"""Up to this width the error is measured."""
COLUMNS = ("case", "weights", "steps", "rejected", "events", "slides", "margin")
COLUMNS += ("error", "seconds", "compile_seconds", "ok", "missed")


def points(width, samples=100, features=20):
    """Points labeled by the side of a hyperplane, with a gap, and ReLUs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, features))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    normal = rng.normal(size=features)
    y = np.sign(x @ normal)
    x = x + 0.2 * y[:, None] * normal / np.linalg.norm(normal)
    inner = rng.normal(size=(width, features)) / np.sqrt(features)
    outer = rng.normal(size=width) / np.sqrt(width)
    network = gflow.nn.MLP.from_weights([inner, outer], power=1)
    return gflow.GradientFlow(gflow.Logistic(), x, y), network


def digits(widths, samples=100):
    """Images of the digits 3 and 8, and layers of ReLUs."""
    x, y = gflow.data.digits((3, 8), samples=samples)
    network = gflow.nn.MLP(64, widths, power=1, key=jax.random.key(0))
    return gflow.GradientFlow(gflow.Logistic(), x, y), network


def ended(flow, network, log10_scale, rtol):
    """The curve, and the normalized margin at its end."""
    until = gflow.Until(log_margin_scale=log10_scale * math.log(10))
    try:
        curve = gflow.solve(
            flow, network, until=until, rtol=rtol, max_steps=2000, progress=False
        )
    except gflow.SolveError as stopped:
        curve = stopped.trajectory
    margins = curve.map(gflow.margins.normalized)
    return curve, float(margins[-1])


def measure(case, flow, network, log10_scale, rtol=1e-4, compared=False, **limits):
    """The row of one run. Its seconds are those of a first call, compilation apart."""
    curve, margin = ended(flow, network, log10_scale, rtol)
    row = {
        "case": case,
        "rtol": rtol,
        "weights": curve.steps.rates.shape[1],
        "steps": curve.stats["steps"],
        "rejected": curve.stats["rejected"],
        "attempts": curve.stats["steps"] + curve.stats["rejected"],
        "events": curve.stats["events"],
        "slides": curve.stats["slides"],
        "margin": margin,
        "seconds": curve.stats["run_seconds"],
        "compile_seconds": curve.stats["compile_seconds"],
        "ok": bool(curve.result == gflow.RESULTS.successful),
    }
    if compared:
        _, finer = ended(flow, network, log10_scale, rtol / 10)
        row["error"] = abs(margin / finer - 1)
        limits["error"] = 10 * rtol
    return _bench.emit(_bench.judged(row, **limits))


def main(widths=WIDTHS, images=((64,), (64, 32, 32)), log10_scale=26.0):
    """Measure all cases, print their rows, and return them."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    rows, most = [], math.inf
    for width in widths:
        case, compared = f"{width} ReLUs on 100 points", width <= COMPARED
        limits = {"attempts": 2 * most} if most < math.inf else {}
        problem = points(width)
        rows.append(measure(case, *problem, log10_scale, compared=compared, **limits))
        most = rows[-1]["attempts"] if width == COMPARED else most
    for layers in images:
        case = f"digits 3 and 8, ReLUs {'-'.join(map(str, layers))}, R = 1e30"
        seconds = 20.0 if len(layers) == 1 else 60.0
        rows.append(measure(case, *digits(layers), 30.0, seconds=seconds))
    _bench.table(rows, COLUMNS)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS)
    main(**vars(parser.parse_args()))
