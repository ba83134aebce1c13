r"""Many flows: threads against calls in turn, and a cluster that loses a worker.

Seeds of a toy problem (20 points, a two-layer network of degree 3) to log t = 1e3. The
first row compares `gflow.sweep` in threads of one process with as many warm calls of
`gflow.solve`, one after the other, in one run. The second runs seeds on two Dask
workers, one of which is killed on the way, and counts what is missing at the end.

`python -m benchmarks.sweep`, with `pip install distributed` for the second row
"""

import argparse
import os
import signal
import threading
import time

import gflow
import jax
import numpy as np

from benchmarks import _bench


COLUMNS = ("case", "members", "missing", "seconds", "ratio", "target")
END = gflow.Until(log_t=1e3)


def made(seed):
    """A flow and the network that it starts from."""
    x, y = gflow.data.separable(20, 5, shift=0.2, seed=0)
    network = gflow.nn.MLP(5, (18,), power=2, leak=-1.0, key=jax.random.key(seed))
    return gflow.GradientFlow(gflow.Logistic(), x, y), network


def missing(found):
    """How many members have not come to their end."""
    return int(np.sum(found.result.values != "successful"))


def in_threads(seeds, repeats):
    """One sweep against calls in turn."""
    runs = {
        "sweep": lambda: gflow.sweep(
            made, {"seed": range(seeds)}, until=END, progress=False
        ),
        "in turn": lambda: [
            gflow.solve(*made(seed), until=END, progress=False) for seed in range(seeds)
        ],
    }
    found = runs["sweep"]()  # compiles
    seconds = {
        name: rows[0]["seconds"] for name, rows in _bench.warm(runs, repeats).items()
    }
    return _bench.emit(
        {
            "case": f"{seeds} seeds in threads",
            "members": seeds,
            "missing": missing(found),
            "seconds": seconds["sweep"],
            "in_turn_seconds": seconds["in turn"],
            "ratio": seconds["sweep"] / seconds["in turn"],
            "target": 0.25,
            "cores": os.cpu_count(),
        }
    )


def on_a_cluster(seeds):
    """Two Dask workers, one of which is killed on the way."""
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        victim = next(iter(client.run(os.getpid).values()))

        def kill():
            time.sleep(5.0)  # in the middle of a member
            os.kill(victim, signal.SIGKILL)

        threading.Thread(target=kill, daemon=True).start()
        began = time.perf_counter()
        found = gflow.sweep(
            made, {"seed": range(seeds)}, until=END, progress=False,
            executor=client.get_executor(),
        )  # fmt: skip
        seconds = time.perf_counter() - began
    return _bench.emit(
        {
            "case": f"{seeds} seeds on two Dask workers, one killed",
            "members": seeds,
            "missing": missing(found),
            "seconds": seconds,
        }
    )


def main(seeds=64, on_cluster=1_000, repeats=3):
    """Measure both cases, print their rows, and return them."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    rows = [in_threads(seeds, repeats)]
    if on_cluster:
        rows.append(on_a_cluster(on_cluster))
    _bench.table(rows, COLUMNS)
    return rows


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
