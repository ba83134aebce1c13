"""Descent that is steepest in the l2, l_inf and l1 norms, on the same data.

Each flow should end with the largest normalized margin in its own norm, and its
smoothed margin should never fall (Tsilivis, Vardi and Kempe 2025, arXiv:2410.22069).
For a linear model the margins are those of linear programs.

    python -m benchmarks.steepest           # from the root of the repository
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


NORMS = ("l2", "linf", "l1")
SHAPES = {"linear": [(5,)], "deep linear": [(3, 5), (3,)], "ReLU^2": [(8, 5), (8,)]}
# The smaller, the stiffer is sliding: ReLU^2 networks stall at 1e-3.
SMOOTHING = {"linear": 1e-3, "deep linear": 1e-2, "ReLU^2": 3e-2}
COLUMNS = ("case", "steps", "rejected", *NORMS, "decreases", "lp_error", "seconds")
COLUMNS += ("ok", "missed")


def start(kind):
    """The weights at the start."""
    weights = gflow.problems.gaussians(np.random.default_rng(0), SHAPES[kind], 0.5)
    if kind == "ReLU^2":
        return gflow.nn.MLP.from_weights(weights, power=2)
    return gflow.nn.DeepLinear.from_weights(weights)


def measure(kind, norm, smoothing, log10_scale):
    """The row of one flow: its margins in all norms at the end."""
    data = gflow.data.separable(12, 5, shift=0.2, seed=1)
    flow = gflow.SteepestFlow(
        gflow.Exponential(), *data, norm=norm, smoothing=smoothing
    )
    until = gflow.Until(log_margin_scale=log10_scale * math.log(10))
    curve = gflow.solve(
        flow, start(kind), until=until, rtol=1e-6, progress=False, throw=False
    )
    smoothed = curve.map(gflow.margins.steepest)
    # Exact at the ends of steps; the last sample lies within one.
    smoothed = np.asarray(smoothed)[:-1]
    growth = np.diff(np.log(smoothed[smoothed > 0]))
    last = jax.tree.map(lambda leaf: leaf[-1], curve.direction)
    margins = {
        name: float(gflow.margins.in_norm(gflow.point(flow, last), name))
        for name in NORMS
    }
    row = {
        "case": f"{kind}, {norm}",
        "smoothing": smoothing,
        "steps": curve.stats["steps"],
        "rejected": curve.stats["rejected"],
        "failed": curve.stats["failed"],
        **margins,
        "decreases": int(np.sum(growth < -1e-13)),
        "seconds": curve.stats["run_seconds"],
        "ok": bool(curve.result == gflow.RESULTS.successful),
    }
    if kind == "linear" and norm != "l2":
        exact = gflow.reference.hard_margin(*data, norm=norm).margin
        row["lp_error"] = abs(margins[norm] / exact - 1)
    return row


def main(kinds=tuple(SHAPES), smoothing=None, log10_scale=12):
    """Measure each flow, print a row for each, and return the rows."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    rows = []
    for kind in kinds:
        width = SMOOTHING[kind] if smoothing is None else smoothing
        found = [measure(kind, norm, width, log10_scale) for norm in NORMS]
        for norm, row in zip(NORMS, found, strict=True):
            row["ahead"] = row[norm] / max(r[norm] for r in found if r is not row) - 1
            row["behind"] = -row["ahead"]
            limits = {"decreases": 0, "behind": 0.0}
            limits |= {"lp_error": 1e-8} if "lp_error" in row else {}
            rows.append(_bench.emit(_bench.judged(row, **limits)))
    _bench.table(rows, COLUMNS)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoothing", type=float, help="of the norms, for all")
    main(**vars(parser.parse_args()))
