r"""gflow beside the methods of others, each as accurate as it or more."""

import functools

import gflow
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks import _bench
from benchmarks._log_time_flow import LogTimeFlow


LADDER = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
REFERENCE = 1e-11
PATIENCE = 5.0
"""Others may take so many times as long as gflow, and the reference ten times that."""


def measure(case, flow, network, log_t, rtol, methods, repeats):
    """A row: gflow, and the fastest run of the others that is as accurate.

    Each method is run at the loosest tolerance of a ladder whose error is at most that
    of gflow, or `rtol`. The error is that of all weights, against the last of the
    methods at a tight tolerance. Where that does not arrive, any run that does counts.
    """
    other = LogTimeFlow(flow, network)
    until, end = gflow.Until(log_t=log_t), float(np.logaddexp(0.0, log_t))

    def solve():
        return gflow.solve(
            flow, network, until=until, rtol=rtol, throw=False, progress=False
        )

    solve()
    curve = solve()
    patience = PATIENCE * curve.stats["run_seconds"] + 2.0
    exact = other.follow(methods[-1], end, REFERENCE, 10 * patience)

    def error_of(weights):
        missed = np.linalg.norm(weights - exact.weights)
        return float(missed / np.linalg.norm(exact.weights)) if exact.ok else None

    error = error_of(ravel_pytree(curve[-1].network)[0])
    runs, errors, said = {"gflow": solve}, {}, []
    for method in methods:
        for tried in LADDER:
            found = other.follow(method, end, tried, patience)
            said.append(f"{method}, rtol {tried:g}: {found.message}")
            if found.late:
                break
            if not found.ok:
                continue
            missed = error_of(found.weights)
            if missed is None or missed <= max(error, rtol):
                runs[method] = functools.partial(other.follow, method, end, tried)
                errors[method] = missed
                break
    took = {k: v[0]["seconds"] for k, v in _bench.warm(runs, repeats).items()}
    best = min(errors, key=took.get, default=None)
    return _bench.emit(
        {
            "case": case,
            "rtol": rtol,
            "samples": len(flow.y),
            "weights": other.start.size,
            "attempts": curve.stats["steps"] + curve.stats["rejected"],
            "log_loss": float(curve.log_loss[-1]),
            "error": error,
            "seconds": took["gflow"],
            "method": best,
            "other_error": errors.get(best),
            "other_seconds": took.get(best),
            "ratio": took["gflow"] / took[best] if best else None,
            "all_seconds": took,
            "others": said,
            "result": curve.result.name,
        }
    )
