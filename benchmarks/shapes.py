r"""Many samples, few weights: gflow against the methods of SciPy, at equal error.

Noisy labels on n random inputs, 20 weights, the logistic loss, to log(1 + t) = 5.
The reference is LSODA at rtol 1e-11. Each method is run at the loosest tolerance of a
ladder whose error in the direction is at most that of gflow's, or 1e-6. Ratios are of
seconds in one run, compilation apart.

`python -m benchmarks.shapes`
"""

import argparse
import functools
import math

import gflow
import jax
import numpy as np

from benchmarks import _bench
from benchmarks._log_time_flow import METHODS, LogTimeFlow


COLUMNS = ("case", "attempts", "error", "seconds", "best", "best_seconds", "ratio")
LADDER = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
LOG_T, RTOL, REFERENCE = 5.0, 1e-6, 1e-11


def problem(samples, power, seed=0):
    """A flow with many samples, and its network."""
    random = np.random.default_rng(seed)
    x, truth = random.normal(size=(samples, 4)), random.normal(size=4)
    y = np.sign(x @ truth + 0.3 * random.normal(size=samples))
    leak = -1.0 if power == "square" else 0.0  # x^2, which is smooth; or squared ReLUs
    network = gflow.nn.MLP(4, (4,), power=2, leak=leak, key=jax.random.key(seed))
    return gflow.GradientFlow(gflow.Logistic(), x, y), network


def error_of(weights, exact):
    """Between the directions of two vectors of weights."""
    a, b = (w / np.linalg.norm(w) for w in (weights, exact))
    return float(np.linalg.norm(a - b))


def measure(samples, power, repeats):
    """One case: its row, with the best of the other methods beside it."""
    flow, network = problem(samples, power)
    other = LogTimeFlow(flow, network)
    exact = other.follow("LSODA", LOG_T, REFERENCE).weights
    until = gflow.Until(log_t=math.log(math.expm1(LOG_T)))  # others count log(1 + t)

    def solve():
        return gflow.solve(flow, network, until=until, rtol=RTOL, progress=False)

    curve = solve()
    end = np.concatenate(
        [np.ravel(leaf) for leaf in jax.tree.leaves(curve[-1].direction)]
    )
    error = error_of(end, exact)
    runs, errors = {"gflow": solve}, {"gflow": error}
    for method in METHODS:
        for rtol in LADDER:
            found = other.follow(method, LOG_T, rtol)
            missed = error_of(found.weights, exact) if found.ok else np.inf
            if missed <= max(error, 1e-6):
                runs[method] = functools.partial(other.follow, method, LOG_T, rtol)
                errors[method] = missed
                break
    seconds = {
        name: found[0]["seconds"] for name, found in _bench.warm(runs, repeats).items()
    }
    best = min((name for name in seconds if name != "gflow"), key=seconds.get)
    stats = curve.stats
    return _bench.emit(
        {
            "case": f"n = {samples}, N = 20, {power}",
            "attempts": stats["steps"] + stats["rejected"],
            "error": error,
            "seconds": seconds["gflow"],
            "compile_seconds": stats["compile_seconds"],
            "best": best,
            "best_seconds": seconds[best],
            "ratio": seconds["gflow"] / seconds[best],
            "all_seconds": seconds,
            "all_errors": errors,
            "ok": bool(curve.result == gflow.RESULTS.successful),
        }
    )


def main(sizes=(100, 1_000, 10_000), powers=("square", "ReLU^2"), repeats=3):
    """Measure all cases, print their rows, and return them."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    rows = [measure(samples, power, repeats) for power in powers for samples in sizes]
    _bench.table(rows, COLUMNS)
    return rows


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
