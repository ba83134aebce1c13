r"""Against CVODE of SUNDIALS, with which MLPGradientFlow.jl follows such flows.

Images of the digits 3 and 8 and a wide network, to later and later times; and a
regression as in Brea, Martinelli, Simsek and Gerstner (2023), arXiv:2301.10638: a
student of eight softplus units with biases, on a teacher like it and Gaussian inputs,
to T = 0.1 of the flow of the sum of squares. CVODE's BDF runs in log-time, with a dense
Jacobian or with GMRES on its products, at the loosest tolerance of a ladder whose error
is no larger than that of gflow; the reference is CVODE at rtol 1e-11 or, where that
does not arrive, gflow at a hundredth of its tolerance.

    pip install -e '.[compare]' && python -m benchmarks.cvode
"""

import argparse
import math

import gflow
import jax
import numpy as np

from benchmarks import _bench
from benchmarks._log_time_flow import CVODE
from benchmarks._peers import measure


COLUMNS = ("case", "attempts", "error", "seconds", "method", "other_error")
COLUMNS += ("other_seconds", "ratio", "result")


def digits(width, samples=100):
    """Images, and a layer of squares: 65 weights a unit."""
    x, y = gflow.data.digits((3, 8), samples=samples)
    network = gflow.nn.MLP(64, (width,), power=2, leak=-1.0, key=jax.random.key(0))
    return gflow.GradientFlow(gflow.Logistic(), x, y), network


def regression(samples, features=2, hidden=8):
    """A student on its teacher, softplus with biases, and Gaussian inputs."""
    student, teacher = (
        gflow.nn.SmoothMLP(
            features, (hidden,), "scalar", "softplus", key=jax.random.key(seed)
        )
        for seed in (2, 1)
    )
    x = np.random.default_rng(0).normal(size=(samples, features))
    return gflow.GradientFlow(gflow.Square(), x, jax.vmap(teacher)(x)), student


def main(width=64, times=(3.0, 10.0, 1e2, 1e3, 1e4, 1e5), samples=10_000, repeats=2):
    """Measure all cases, print their rows, and return them."""
    jax.config.update("jax_enable_x64", True)
    if not CVODE:
        raise SystemExit("This compares with CVODE: `pip install -e '.[compare]'`.")
    _bench.emit(_bench.versions())
    flow, network = digits(width)
    rows = [
        measure(
            f"digits, log t = {log_t:g}", flow, network, log_t, 1e-4, CVODE[1:],
            repeats,
        )
        for log_t in times
    ]  # fmt: skip
    rows.append(
        measure(
            f"regression, n = {samples}", *regression(samples),
            math.log(0.1 * 2 * samples), 1e-6, CVODE, repeats,
        )
    )  # fmt: skip
    _bench.table(rows, COLUMNS)
    return rows


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
