r"""Time and memory against the numbers of weights and of samples.

Two layers of $x^2$, the logistic loss, to log r = 69 at rtol 1e-4. As far as weights
go, 100 threes and eights, and N = 65 times the width; as far as samples go, so many
signs of a quadratic form of 16 inputs, and N = 1,020. Larger cases than those of the
defaults, as a width of 15,400 or 3,000 samples, take many minutes each. Each runs in a
process of its own, whose largest resident memory is told. The error is that of the
smallest margin, against a run at rtol 1e-6 where that takes not too long. Exponents are
the slopes of the logarithm of seconds, compilation apart, by least squares.

`python -m benchmarks.scaling`, `python -m benchmarks.scaling --widths 15400 --samples`
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import gflow
import jax
import numpy as np

from benchmarks import _bench


COLUMNS = ("case", "N", "n", "attempts", "error", "seconds", "memory_gb", "missed")
WIDTHS = (160, 500, 1_600)
SAMPLES = (100, 300, 1_000)
LOG_RADIUS, RTOL, REFERENCE = 69.0, 1e-4, 1e-6
MOST_WEIGHTS = 40_000
"""With more, there is no second run at a finer tolerance."""

SECONDS = {104_000: 20.0, 1_001_000: 300.0}
MEMORY_GB = {1_001_000: 4.0}
EXPONENTS = {"N": 1.1, "n": 2.2}


def wide(width):
    """A flow of 100 digits, and a network with 65 weights a neuron."""
    x, y = gflow.data.digits((3, 8))
    network = gflow.nn.MLP(64, (width,), power=2, leak=-1.0, key=jax.random.key(0))
    return gflow.GradientFlow(gflow.Logistic(), x[:100], y[:100]), network


def many(samples):
    """A flow of so many samples, and a network with 1,020 weights."""
    random = np.random.default_rng(0)
    x, truth = random.normal(size=(samples, 16)), random.normal(size=(16, 16))
    y = np.sign(np.einsum("ni,ij,nj->n", x, truth, x))  # what it can fit
    network = gflow.nn.MLP(16, (60,), power=2, leak=-1.0, key=jax.random.key(0))
    return gflow.GradientFlow(gflow.Logistic(), x, y), network


PROBLEMS = {"N": wide, "n": many}


def follow(axis, size, rtol):
    """One case in this process: what there is to tell of it."""
    jax.config.update("jax_enable_x64", True)
    flow, network = PROBLEMS[axis](size)
    began = time.perf_counter()
    curve = gflow.solve(
        flow, network, until=gflow.Until(log_radius=LOG_RADIUS), rtol=rtol,
        progress=False, throw=False,
    )  # fmt: skip
    seconds, stats = time.perf_counter() - began, curve.stats
    weights = sum(leaf.size for leaf in jax.tree.leaves(network.weights))
    return {
        "N": weights,
        "n": flow.samples,
        "attempts": stats["steps"] + stats["rejected"],
        "gradients": stats["gradients"],
        "seconds": seconds - stats["compile_seconds"],
        "cpu_seconds": time.process_time(),
        "compile_seconds": stats["compile_seconds"],
        "kept": stats["kept"],
        "margin": float(gflow.margins.normalized(curve[-1])),
        "memory_gb": peak_memory() / 1e9,
        "ok": bool(curve.result == gflow.RESULTS.successful),
    }


def peak_memory():
    """The most bytes that this process has had in memory."""
    status = Path("/proc/self/status")
    if status.exists():  # what the system counts else begins with the parent's
        (line,) = (line for line in status.open() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def apart(axis, size, rtol):
    """One case in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scaling", "--one", axis, str(size)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    out = subprocess.run(
        [*command, str(rtol)], env=environment, check=True, capture_output=True
    )
    return json.loads(out.stdout.splitlines()[-1])


def measure(axis, size):
    """The row of one case."""
    row = {"case": f"{axis} = "} | apart(axis, size, RTOL)
    row["case"] += f"{row[axis]:,}"
    row["error"] = None
    if row["N"] <= MOST_WEIGHTS:
        exact = apart(axis, size, REFERENCE)["margin"]
        row["error"] = abs(row["margin"] - exact) / abs(exact)
    limits = {}
    for name, most in (("seconds", SECONDS), ("memory_gb", MEMORY_GB)):
        if row["N"] in most:
            limits[name] = most[row["N"]]
    return _bench.emit(_bench.judged(row, **limits))


def exponent(axis, rows):
    """The slope of seconds along an axis, judged."""
    sizes, seconds = ([math.log(row[k]) for row in rows] for k in (axis, "seconds"))
    slope = float(np.polyfit(sizes, seconds, 1)[0])
    row = {"case": f"exponent in {axis}", "exponent": slope}
    return _bench.emit(_bench.judged(row, exponent=EXPONENTS[axis]))


def main(widths=WIDTHS, samples=SAMPLES):
    """Measure all cases, print their rows, and return them."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    rows = []
    for axis, sizes in (("N", widths), ("n", samples)):
        own = [measure(axis, size) for size in sizes]
        rows += own
        if len(own) > 1:
            rows.append(exponent(axis, own))
    _bench.table(rows, (*COLUMNS, "exponent"))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", nargs="*", type=int, default=WIDTHS)
    parser.add_argument("--samples", nargs="*", type=int, default=SAMPLES)
    parser.add_argument("--one", nargs=3, metavar=("axis", "size", "rtol"))
    asked = parser.parse_args()
    if asked.one is None:
        main(asked.widths, asked.samples)
    else:
        axis, size, rtol = asked.one
        print(json.dumps(follow(axis, int(size), float(rtol))))
