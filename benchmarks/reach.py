"""How far does gflow follow the flow, how well, and at what cost?

Toy and digit problems from any scale to margins of 1e30 and far beyond; beside it, the
solvers of SciPy on the same flow in log-time, which stop short. Errors are relative, of
the normalized margin (`error`) or of a direction (`direction_error`).

    python -m benchmarks.reach                     # from the root of the repository
    python -m benchmarks.reach --cases toy linear  # without digits
"""

import argparse
import functools
import math
import os
import warnings


# Before NumPy loads: several BLAS threads make small factorizations far slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import gflow
import jax
import numpy as np

from benchmarks import _bench, _log_time_flow, first_call


RELU2_LIMIT = 0.031575240263455  # normalized margin, from its KKT system by Newton
COLUMNS = ("case", "steps", "error", "direction_error", "seconds", "cpu_seconds")
COLUMNS += ("ok", "missed")


def until(log10_scale):
    return gflow.Until(log_margin_scale=log10_scale * math.log(10))


def solver(problem, end, rtol):
    flow, network = problem

    def run(rtol=rtol):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # none is promised
            return gflow.solve(flow, network, until=end, rtol=rtol, progress=False)

    return run


def margin(curve):
    """The normalized margin at the end."""
    return float(gflow.margins.normalized(curve[-1]))


def report(case, curve, exact, against, seconds, first):
    """The row of one solve: error, work and success."""
    stats, log_t = curve.stats, np.asarray(curve.log_t)
    finite = bool(np.isfinite(log_t[1:]).all() and np.isfinite(curve.log_loss).all())
    # Late increments of t, after a start at 1e-100, lie below its rounding.
    monotone = bool(np.all(log_t[1:] >= log_t[:-1]))
    return {
        "case": case,
        "accepted": stats["steps"],
        "rejected": stats["rejected"],
        "steps": stats["steps"] + stats["rejected"],
        "gradients": stats["gradients"],
        "log10_scale": float(curve.degree * curve.log_radius[-1]) / math.log(10),
        "log_t": float(log_t[-1]),
        "normalized_margin": margin(curve),
        "error": abs(margin(curve) / exact - 1),
        "error_against": against,
        "monotone": monotone,
        "finite": finite,
        "ok": curve.result == gflow.RESULTS.successful and finite and monotone,
        "result": curve.result.name,
        "compile_seconds": first.stats["compile_seconds"],
        **seconds,
    }


def toy(repeats):
    """gflow to R = 1e43, beside SciPy and itself to log t = 1e5 only."""
    problem, log_t, rtol = gflow.problems.relu2(), 1e5, 1e-6
    run = solver(problem, until(43), rtol)
    short = solver(problem, gflow.Until(log_t=log_t), rtol)
    first, reference = run(), short(1e-9)
    plain = _log_time_flow.LogTimeFlow(*problem)
    others = {
        name: functools.partial(plain.follow, name, log_t, rtol)
        for name in _log_time_flow.METHODS
    }
    others["LSODA"]()
    fair = {"gflow": run, "short": short, "LSODA": others.pop("LSODA")}
    measured = _bench.warm(fair, repeats) | _bench.warm(others, 1)
    seconds, curve = measured.pop("gflow")
    row = report("relu2, R = 1e43", curve, RELU2_LIMIT, "exact limit", seconds, first)
    lsoda, _ = measured["LSODA"]
    row["lsoda_ratio"] = seconds["seconds"] / lsoda["seconds"]
    row["lsoda_cpu_ratio"] = seconds["cpu_seconds"] / lsoda["cpu_seconds"]
    yield _bench.judged(row, steps=80, error=2e-9, lsoda_ratio=0.15)
    seconds, curve = measured.pop("short")
    exact = margin(reference)
    row = report("relu2, log t = 1e5", curve, exact, "rtol / 1000", seconds, first)
    yield row | {"direction_error": distance(curve, reference)}
    for name, (seconds, found) in measured.items():
        yield found.row(f"relu2, log t = 1e5, {name}", reference) | seconds


def distance(curve, reference):
    """Between the directions at the end of two curves."""
    pairs = zip(
        jax.tree.leaves(curve[-1].direction),
        jax.tree.leaves(reference[-1].direction),
        strict=True,
    )
    return math.sqrt(sum(float(np.sum(np.square(a - b))) for a, b in pairs))


def linear(repeats, scales=((1.0, 100), (1e-50, 180), (1e-100, 260))):
    """Three linear layers against the exact hard margin, to R = 1e30."""
    for scale, most in scales:
        problem = gflow.problems.linear(scale=scale)
        flow = problem.flow
        best = gflow.reference.hard_margin(flow.x, flow.y)
        run = solver(problem, until(30), 1e-8)
        first = run()
        seconds, curve = _bench.warm({"": run}, repeats)[""]
        case = f"linear x {scale:g}, R = 1e30"
        row = report(case, curve, best.margin / 3**1.5, "exact limit", seconds, first)
        a, b, c = curve[-1].direction.weights
        predictor = np.asarray(c @ b @ a)
        direction = predictor / np.linalg.norm(predictor)
        row["direction_error"] = float(np.linalg.norm(direction - best.direction))
        yield _bench.judged(row, steps=most, error=2e-9, direction_error=2e-9)


def far(repeats):
    """To R = 1e299, from the smallest weights and past several saddles."""
    tiny, held = gflow.problems.linear(scale=1e-100), gflow.problems.held()
    best = gflow.reference.hard_margin(tiny.flow.x, tiny.flow.y)
    for case, problem, exact in [
        ("linear x 1e-100, R = 1e299", tiny, best.margin / 3**1.5),
        ("held, R = 1e299", held, None),
    ]:
        run = solver(problem, gflow.Until(log_margin_scale=690.0), 1e-6)
        first = run()
        against = "rtol / 100" if exact is None else "exact limit"
        exact = margin(run(1e-8)) if exact is None else exact
        seconds, curve = _bench.warm({"": run}, repeats)[""]
        yield report(case, curve, exact, against, seconds, first)


def digits(repeats, samples, width, rtol, **limits):
    """Images of the digits 3 and 8; the error is against a tenth of the tolerance."""
    problem = gflow.problems.digits(samples=samples, width=width)
    run = solver(problem, until(30), rtol)
    first = run(rtol / 10)
    seconds, curve = _bench.warm({"": run}, repeats)[""]
    case = f"digits, n = {samples}, width {width}, R = 1e30"
    row = report(case, curve, margin(first), "rtol / 10", seconds, first)
    yield _bench.judged(row, **limits)


CASES = {
    "toy": toy,
    "linear": linear,
    "far": far,
    "digits": functools.partial(
        digits, samples=100, width=10, rtol=1e-6, steps=130, seconds=1.5
    ),
    "big": lambda repeats: digits(1, 357, 64, 1e-4, seconds=25.0),
}


def main(cases=tuple(CASES), repeats=5, pairs=3):
    """Measure the cases, print a row for each, and return the rows."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    rows = [_bench.emit(row) for name in cases for row in CASES[name](repeats)]
    rows += first_call.main(pairs, header=False)
    _bench.table(rows, COLUMNS)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=tuple(CASES))
    parser.add_argument("--repeats", type=int, default=5, help="warm runs of a case")
    parser.add_argument("--pairs", type=int, default=3, help="first calls, 0 for none")
    main(**vars(parser.parse_args()))
