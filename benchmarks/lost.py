"""Do flows that lose samples go on?

Networks 3-3-3-1 of squared ReLUs on six points with labels at random, which they
cannot all fit: units are held where they would see a lost sample again. Each runs to
R = 1e87 or for 1,500 attempts. Where it gets there, the loss is log(k ln 2 / n) for k
lost samples of n, or far below for none; and no gradient flow raises its loss. Prints
JSON lines, one a network, and a summary. Rows in `benchmarks/rows/lost.jsonl`.

    python -m benchmarks.lost
"""

import argparse
import collections
import json
import math
import time

import jax


jax.config.update("jax_enable_x64", True)

import gflow
import jax.random as jr
import numpy as np

from benchmarks import _bench


LOG_SCALE, ATTEMPTS, RTOL = 200.0, 1500, 1e-6
SAMPLES, FEATURES, WIDTH, SCALE = 6, 3, 3, 1.5


def problem(seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=(SAMPLES, FEATURES))
    y = random.choice([-1.0, 1.0], size=SAMPLES)
    if np.all(y == y[0]):
        y[0] = -y[0]
    network = gflow.nn.MLP(FEATURES, (WIDTH, WIDTH), power=2, key=jr.key(seed))
    network = jax.tree.map(lambda a: SCALE * a, network)
    return gflow.GradientFlow(gflow.Logistic(), x, y), network


def run_one(seed):
    """One row: how the run ended, and how far its loss is from what it must be."""
    flow, network = problem(seed)
    until = gflow.Until(log_margin_scale=LOG_SCALE)
    started = time.perf_counter()
    curve = gflow.solve(
        flow, network, until=until, rtol=RTOL, max_steps=ATTEMPTS, throw=False,
        progress=False,
    )  # fmt: skip
    log_loss = np.asarray(curve.log_loss)
    margins = np.asarray(flow.margins(curve[-1].direction))
    lost = int(np.sum(np.abs(margins) < 1e-12 * np.max(margins)))
    reached = curve.result == gflow.RESULTS.successful
    error = None
    if reached and lost:
        error = abs(float(log_loss[-1]) - math.log(lost * math.log(2) / SAMPLES))
    return {
        "seed": seed,
        "result": curve.result.name,
        "log_t": float(curve.log_t[-1]),
        "log_loss": float(log_loss[-1]),
        "lost": lost,
        "error": error,
        "most_raised": float(np.max(np.diff(log_loss), initial=0.0)),
        "walls": curve.stats["walls"],
        "steps": curve.stats["steps"],
        "rejected": curve.stats["rejected"],
        "seconds": round(time.perf_counter() - started, 3),
    }


def main(networks=40, first=0):
    """All rows, and a summary."""
    rows = []
    for seed in range(first, first + networks):
        rows.append(run_one(seed))
        print(json.dumps(rows[-1]), flush=True)
    ends = collections.Counter(row["result"] for row in rows)
    print(json.dumps({"runs": len(rows), "ends": dict(ends)}))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(_bench.versions()), flush=True)
    main(arguments.networks, arguments.first)
