r"""Where a flow is not stiff, and where it is far too stiff: Tsit5, LSODA, and gflow.

A deep linear network on the square loss to log t = 3, against Diffrax's Tsit5 on the
same field (`solver=diffrax.Tsit5()`); and a linear model on scikit-learn's breast
cancer data as they are, with features up to 4e3, against LSODA; and on to where no
other method comes, with the margin's certificate.

`python -m benchmarks.stiffness`
"""

import argparse

import diffrax as dfx
import gflow
import jax
import numpy as np
from sklearn.datasets import load_breast_cancer

from benchmarks import _bench
from benchmarks._log_time_flow import LogTimeFlow


COLUMNS = ("case", "attempts", "log_loss", "seconds", "other", "other_seconds", "ratio")
FAR = ("case", "attempts", "seconds", "lacks_times_log_t", "verdict", "limit_error")
ROUNDED = 1e-8  # features of 4e3 and a margin of 4e-5: no residual is known better


def deep(width, depth=3):
    """A deep linear network with 5 inputs and 5 outputs, 50 samples."""
    random = np.random.default_rng(0)
    x = random.normal(size=(50, 5))
    y = x @ random.normal(size=(5, 5)) / 2
    network = gflow.nn.DeepLinear(5, (width,) * depth, 5, key=jax.random.key(2))
    return gflow.GradientFlow(gflow.Square(), x, y), network


def cancer():
    """Raw features beside a constant one, and small weights."""
    data = load_breast_cancer()
    x = np.hstack([data.data, np.ones((len(data.data), 1))])
    network = gflow.nn.DeepLinear(x.shape[1], (), key=jax.random.key(0))
    network = jax.tree.map(lambda w: 1e-3 * w, network)
    return gflow.GradientFlow(gflow.Logistic(), x, 2.0 * data.target - 1), network


def measure(case, flow, network, log_t, other, run, repeats):
    """A row of gflow's default beside another method."""

    def solve(solver=None):
        return gflow.solve(
            flow, network, until=gflow.Until(log_t=log_t), solver=solver, throw=False,
            progress=False,
        )  # fmt: skip

    curve = solve()
    runs = {"gflow": solve, other: run or (lambda: solve(dfx.Tsit5()))}
    runs[other]()  # compiles
    found = {k: v[0]["seconds"] for k, v in _bench.warm(runs, repeats).items()}
    return _bench.emit(
        {
            "case": case,
            "attempts": curve.stats["steps"] + curve.stats["rejected"],
            "log_loss": float(curve.log_loss[-1]),
            "result": curve.result.name,
            "seconds": found["gflow"],
            "other": other,
            "other_seconds": found[other],
            "ratio": found["gflow"] / found[other],
        }
    )


def measure_end(flow, network, log_t):
    """A row of the flow of the raw data far out, and of its limit."""
    until = gflow.Until(log_t=log_t)
    curve = gflow.solve(flow, network, until=until, throw=False, progress=False)
    end = gflow.limit(curve, tolerance=ROUNDED)
    largest = gflow.reference.hard_margin(flow.x, flow.y).margin
    margin = float(gflow.margins.normalized(curve[-1]))
    return _bench.emit(
        {
            "case": f"breast cancer, raw, log t = {log_t:g}",
            "attempts": curve.stats["steps"] + curve.stats["rejected"],
            "log_loss": float(curve.log_loss[-1]),
            "result": curve.result.name,
            "seconds": curve.stats["run_seconds"],
            "lacks_times_log_t": (1 - margin / largest) * log_t,
            "verdict": str(end.verdict),
            "limit_error": abs(end.margin / largest - 1),
        }
    )


def main(width=50, log_t=20.0, ends=(40.0, 1e3, 1e5), repeats=2):
    """Measure all cases, print their rows, and return them."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    rows = [
        measure(
            f"deep linear, width {width}", *deep(width), 3.0, "Tsit5", None, repeats
        )
    ]
    flow, network = cancer()
    lsoda = LogTimeFlow(flow, network)
    rows.append(
        measure(
            f"breast cancer, raw, log t = {log_t:g}", flow, network, log_t, "LSODA",
            lambda: lsoda.follow("LSODA", log_t, 1e-6), repeats,
        )
    )  # fmt: skip
    _bench.table(rows, COLUMNS)
    far = [measure_end(flow, network, end) for end in ends]
    _bench.table(far, FAR)
    return rows + far


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
