r"""Every shape of problem: gflow against general codes, at equal error.

n = 20 to 10,000 random inputs, N = 20 to 10,000 weights in two layers, labels of a
noisy linear teacher with the logistic loss or its noisy targets with the square loss,
squares or exact ReLUs, from the usual random weights to log t = 3, 20 and 1,000, at
rtol 1e-6. The others are SciPy's LSODA and Radau, Diffrax's Tsit5 and Kvaerno5 as they
come, and, where `scikit-sundae` is installed, CVODE, dense and with GMRES: in log-time,
with jitted field and Jacobian. Dense ones are left out from N = 1,000 on, Kvaerno5 from
N = 200.

    python -m benchmarks.grid  # all; or some: --samples 20 100 --weights 20
"""

import argparse
import itertools
import math

import gflow
import jax
import numpy as np

from benchmarks import _bench
from benchmarks._log_time_flow import CVODE
from benchmarks._peers import measure


COLUMNS = ("case", "attempts", "error", "seconds", "method", "other_seconds", "ratio")
COLUMNS += ("result",)
RTOL = 1e-6
SIZES = {20: (4, 4), 110: (10, 10), 1_000: (99, 10), 10_000: (99, 100)}
"""Inputs and width, for each number of weights."""
SAMPLES = (20, 100, 1_000, 10_000)
ENDS = (3.0, 20.0, 1e3)
PATIENCE = 2.0, 5.0
"""How many times as long as gflow others may take, and the reference as they."""
KINDS = tuple(itertools.product(("logistic", "square loss"), ("squares", "ReLUs")))


def problem(samples, weights, loss, activation, seed=0):
    """A flow and its network."""
    features, width = SIZES[weights]
    random = np.random.default_rng(seed)
    x, truth = random.normal(size=(samples, features)), random.normal(size=features)
    targets = x @ truth / math.sqrt(features) + 0.3 * random.normal(size=samples)
    power, leak = {"squares": (2, -1.0), "ReLUs": (1, 0.0)}[activation]
    network = gflow.nn.MLP(
        features, (width,), power=power, leak=leak, key=jax.random.key(seed)
    )
    if loss == "logistic":
        return gflow.GradientFlow(gflow.Logistic(), x, np.sign(targets)), network
    return gflow.GradientFlow(gflow.Square(), x, targets), network


def methods_for(weights):
    """Those that do not take forever, the last one for the reference."""
    found = ["Tsit5"]
    if weights <= 200:
        found += ["Kvaerno5"]
    if weights < 1_000:
        return [*found, *CVODE, "Radau", "LSODA"]
    return [*found, *CVODE[1:]] if CVODE else [*found, "LSODA"]


def cases(samples=SAMPLES, weights=tuple(SIZES), turns=(0, 1)):
    """On each shape two cases: both losses, both activations, ends in turn."""
    for i, n in enumerate(SAMPLES):
        for j, m in enumerate(SIZES):
            for turn in turns:
                loss, activation = KINDS[(i + j + 3 * turn) % 4]
                end = ENDS[(i + 2 * j + turn) % 3]
                if n in samples and m in weights:
                    yield n, m, loss, activation, end


def main(samples=SAMPLES, weights=tuple(SIZES), turns=(0, 1), repeats=2):
    """Measure all cases, print their rows, and return them."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    rows = []
    for n, m, loss, activation, end in cases(samples, weights, turns):
        case = f"n = {n}, N = {m}, {loss}, {activation}, log t = {end:g}"
        flow, network = problem(n, m, loss, activation)
        rows.append(
            measure(case, flow, network, end, RTOL, methods_for(m), repeats, *PATIENCE)
        )
    _bench.table(rows, COLUMNS)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=SAMPLES)
    parser.add_argument("--weights", type=int, nargs="+", default=tuple(SIZES))
    chosen = parser.parse_args()
    main(tuple(chosen.samples), tuple(chosen.weights))
