"""How many steps does a network of ReLUs take to R = 1e43, for kinks of eight widths?

The toy problem of 20 points and 10 ReLUs. One width says little: at kinks rounding
alone moves the count by some fifteen steps.

    python -m benchmarks.widths           # from the root of the repository
"""

import math
import os


# Before NumPy loads: several BLAS threads make small factorizations far slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import gflow
import jax
import numpy as np

from benchmarks import _bench


WIDTHS = tuple(1e-5 * np.array([0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6]))
COLUMNS = ("case", "steps", "rejected", "failed", "attempts", "seconds", "ok", "missed")


def measure(eps):
    """The row of one width, its seconds without compilation."""
    flow, network = gflow.problems.relu2()
    network = gflow.nn.MLP.from_weights(network.weights, power=1, eps=eps)
    until = gflow.Until(log_margin_scale=43 * math.log(10))
    curve = gflow.solve(
        flow, network, until=until, rtol=1e-6, progress=False, throw=False
    )
    smoothed = curve.map(
        lambda net, rho: gflow.smoothed_margin(flow, net, rho), curve.log_radius
    )
    smoothed = np.asarray(smoothed)
    stats = curve.stats
    return {
        "case": f"toy ReLU, eps {eps:.1e}",
        **{name: stats[name] for name in ("steps", "rejected", "failed", "gradients")},
        "attempts": stats["steps"] + stats["rejected"],
        "smallest_increase": float(np.min(np.diff(smoothed[smoothed > 0]))),
        "seconds": stats["run_seconds"],
        "ok": bool(curve.result == gflow.RESULTS.successful),
    }


def main(widths=WIDTHS):
    """Measure each width, print a row for each, and return the rows."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    limits = {"attempts": 350, "seconds": 0.5}
    rows = [_bench.emit(_bench.judged(measure(eps), **limits)) for eps in widths]
    _bench.table(rows, COLUMNS)
    return rows


if __name__ == "__main__":
    main()
