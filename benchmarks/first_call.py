"""What does the first call cost, tracing and compiling?

`gflow.solve` beside stock `diffrax.diffeqsolve` with its default `Kvaerno5`, on the
same polar field, each in processes of its own, in turn. Both are sent a short way; what
a second call takes is subtracted.

    python -m benchmarks.first_call
"""

import argparse
import json
import os
import subprocess
import sys


os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import diffrax as dfx
import gflow
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from benchmarks import _bench


RTOL = 1e-6
TARGET = 0.6


def gflow_call():
    flow, network = gflow.problems.relu2()
    end = gflow.Until(log_t=-4.0)
    return lambda: gflow.solve(flow, network, until=end, rtol=RTOL, progress=False)


def stock_call():
    flow, network = gflow.problems.relu2()
    vector, unravel = ravel_pytree(network)
    radius = jnp.linalg.norm(vector)
    start = jnp.append(vector / radius, jnp.log(radius))

    def velocity(tau, state, args):
        """The polar flow: direction and log-radius."""
        del tau, args
        margins, pullback = jax.vjp(lambda w: flow.margins(unravel(w)), state[:-1])
        scaled = jnp.exp(network.degree * state[-1]) * margins
        dual = jax.nn.softmax(-jax.nn.softplus(scaled))
        growth = network.degree * jnp.dot(dual, margins)
        return jnp.append(pullback(dual)[0] - growth * state[:-1], growth)

    control = dfx.PIDController(RTOL, RTOL)

    def run():
        return dfx.diffeqsolve(
            dfx.ODETerm(velocity), dfx.Kvaerno5(), 0.0, 1e-2, 1e-3, start,
            stepsize_controller=control,
        )  # fmt: skip

    return run


CALLS = {"gflow": gflow_call, "stock": stock_call}


def once(name):
    """The first call in this process, less the second."""
    jax.config.update("jax_enable_x64", True)
    run = CALLS[name]()
    first, second = _bench.timed(run)[:2], _bench.timed(run)[:2]
    return {"wall": first[0] - second[0], "cpu": first[1] - second[1]}


def fresh(name):
    """`once`, in a process of its own that keeps no compiled programs."""
    command = [sys.executable, "-m", "benchmarks.first_call", "--once", name]
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    out = subprocess.run(command, env=environment, check=True, capture_output=True)
    return json.loads(out.stdout)


def main(pairs=3, header=True):
    """Measure, print a row for each, and return the rows."""
    if header:
        _bench.emit(_bench.versions())
    runs = [{name: fresh(name) for name in CALLS} for _ in range(pairs)]
    if not runs:
        return []
    least = {
        name: {
            clock: min(run[name][clock] for run in runs) for clock in ("wall", "cpu")
        }
        for name in CALLS
    }
    row = {
        "case": "first call over stock",
        "ratio": least["gflow"]["wall"] / least["stock"]["wall"],
        "cpu_ratio": least["gflow"]["cpu"] / least["stock"]["cpu"],
        "seconds": least["gflow"]["wall"],
        "cpu_seconds": least["gflow"]["cpu"],
        "stock_seconds": least["stock"]["wall"],
        "stock_cpu_seconds": least["stock"]["cpu"],
        "repeats": pairs,
        "ok": True,
    }
    return [_bench.emit(_bench.judged(row, ratio=TARGET))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3, help="how often")
    parser.add_argument("--once", choices=tuple(CALLS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(once(options.once)))
    else:
        main(options.pairs)
