r"""gflow beside the methods of others, each as accurate as it or more."""

import _thread
import functools
import threading
from collections.abc import Callable

import gflow
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks import _bench
from benchmarks._log_time_flow import LogTimeFlow


LADDER = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
REFERENCE = 1e-11
DONE = gflow.RESULTS.successful, gflow.RESULTS.critical_point  # there it stays

MOST_SECONDS = 120.0
"""Nor is gflow waited for longer."""


def in_time(solve, *args):
    """A solve, stopped by Ctrl-C if it takes too long."""
    timer = threading.Timer(MOST_SECONDS, _thread.interrupt_main)
    timer.start()
    try:
        return solve(*args)
    finally:
        timer.cancel()


def weights_of(curve):
    """Those at the end; none if it ends before."""
    found = np.asarray(ravel_pytree(curve[-1].network)[0])
    return found if curve.result in DONE else np.full_like(found, np.nan)


def measure(
    case, flow, network, log_t, rtol, methods, repeats, patience=5.0, longer=10.0
):
    """A row: gflow, and the fastest run of the others that is as accurate.

    Each method is run at the loosest tolerance of a ladder whose error is at most that
    of gflow, or `rtol`. The error is that of all weights, against the last of the
    methods at a tight tolerance; where that does not arrive, against gflow's at a
    hundredth of its own. Others may take `patience` times as long as gflow, and two
    seconds; the reference `longer` times that.
    """
    other = LogTimeFlow(flow, network)
    until, end = gflow.Until(log_t=log_t), float(np.logaddexp(0.0, log_t))

    def solve(rtol=rtol):
        return gflow.solve(
            flow, network, until=until, rtol=rtol, throw=False, progress=False
        )

    curve = in_time(solve)
    most = patience * curve.stats["run_seconds"] + 2.0
    exact, against = other.follow(methods[-1], end, REFERENCE, longer * most), None
    right = exact.weights if exact.ok else weights_of(in_time(solve, rtol / 100))
    if np.isfinite(right).all():
        against = methods[-1] if exact.ok else "rtol / 100"

    def error_of(weights):
        return float(np.linalg.norm(weights - right) / np.linalg.norm(right))

    runs: dict[str, Callable] = {}
    errors: dict[str, float] = {}
    said = []
    error = error_of(weights_of(curve))
    if curve.result in DONE:
        runs["gflow"] = solve
    for method in methods:
        for tried in LADDER:
            found = other.follow(method, end, tried, most)
            said.append(f"{method}, rtol {tried:g}: {found.message}")
            if found.late:
                break
            if found.ok and not error_of(found.weights) > np.fmax(error, rtol):
                runs[method] = functools.partial(other.follow, method, end, tried)
                errors[method] = error_of(found.weights)
                break
    took = {k: v[0]["seconds"] for k, v in _bench.warm(runs, repeats).items()}
    best = min(errors, key=lambda method: took[method], default=None)
    seconds = took.get("gflow")
    return _bench.emit(
        {
            "case": case,
            "rtol": rtol,
            "samples": len(flow.y),
            "weights": other.start.size,
            "attempts": curve.stats["steps"] + curve.stats["rejected"],
            "log_t": float(curve.log_t[-1]),
            "log_loss": float(curve.log_loss[-1]),
            "error": error if np.isfinite(error) else None,
            "error_against": against,
            "seconds": seconds,
            "method": best,
            "other_error": errors[best] if best and against else None,
            "other_seconds": took[best] if best else None,
            "ratio": seconds / took[best] if best and seconds else None,
            "all_seconds": took,
            "others": said,
            "result": curve.result.name,
        }
    )
