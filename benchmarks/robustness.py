"""Does every run end at its goal, or say truly why it did not?

Random small problems that nobody tuned for: networks of 2 to 4 layers, widths 3 to 40,
powers 2 and 3, 2 to 60 points, random or teacher's labels, duplicated points, points in
a subspace, weights of scale 1e-3 to 10. Each runs to log R = 200 or until it gives up.

Where a run ends early, before log t = 300, SciPy's Radau goes on from there for five
e-foldings of time, on the loss of the network as it is: an end is true if nothing
happens but what it says. Prints JSON lines, one a run, and a summary; by default 200
runs. Rows in `benchmarks/rows/robustness.jsonl`.

    python -m benchmarks.robustness
"""

import argparse
import collections
import json
import time

import jax


jax.config.update("jax_enable_x64", True)

import equinox as eqx
import gflow
import jax.flatten_util
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.integrate


LOG_SCALE = 200.0
LATEST, FOLDS, SOON = 300.0, 5.0, 0.01
MOST_CALLS = 30_000
STILL = 1e-4
"""What weights at rest may move by, against their norm, in five e-foldings of time."""

ENDS = (
    *("successful", "critical_point", "balanced", "unresolved", "vanishing"),
    *("step_underflow", "out_of_steps"),
)


def draw_structure(random):
    """Sizes that fix what is compiled."""
    layers = int(random.integers(2, 5))
    return {
        "layers": layers,
        "width": int(np.exp(random.uniform(np.log(3), np.log(40)))),
        "power": int(random.choice([2, 3])),
        "samples": int(np.exp(random.uniform(np.log(2), np.log(60)))),
        "features": int(random.integers(1, 12)),
    }


def draw_problem(random, structure):
    """One flow and network of these sizes."""
    n, d = structure["samples"], structure["features"]
    x = random.normal(size=(n, d))
    kind = str(random.choice(["generic", "duplicated", "subspace", "lattice"]))
    if kind == "duplicated":
        x = x[random.integers(0, max(n // 2, 1), size=n)]
    elif kind == "subspace":
        rank = max(d // 2, 1)
        x = random.normal(size=(n, rank)) @ random.normal(size=(rank, d))
    elif kind == "lattice":
        x = np.sign(x) + (random.random((n, d)) < 0.2)
    labels = str(random.choice(["teacher", "random"]))
    y = np.sign(x @ random.normal(size=d)) if labels == "teacher" else np.ones(n)
    if labels == "random":
        y = random.choice([-1.0, 1.0], size=n)
    y[y == 0] = 1.0
    if np.all(y == y[0]):
        y[0] = -y[0]
    scale = float(10 ** random.uniform(-3, 1))
    network = gflow.nn.MLP(
        d,
        (structure["width"],) * (structure["layers"] - 1),
        power=structure["power"],
        key=jr.key(int(random.integers(2**31))),
    )
    network = jax.tree.map(lambda leaf: scale * leaf, network)
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    conflict = any(
        np.all(x[i] == x[j]) and y[i] != y[j] for i in range(n) for j in range(i)
    )
    return flow, network, {
        "kind": kind, "labels": labels, "scale": scale, "conflict": conflict,
    }  # fmt: skip


ROUNDED = 1e-15
"""Of what weights add to margins, and of pulls: what is known no better."""


def goes_on(flow, curve):
    """How far the weights move, against their norm, in five e-foldings of time from
    the end of a curve, and how far the loss falls; by Radau in log t."""
    end = jax.tree.map(lambda a: a[-1], curve.network)
    start, rebuild = jax.flatten_util.ravel_pytree(end)
    size = float(jnp.linalg.norm(start))

    @eqx.filter_jit
    def velocity(log_t, scaled):
        def loss(w):
            return flow.log_loss(rebuild(w))

        value, slope = jax.value_and_grad(loss)(size * scaled)
        return -slope * jnp.exp(value + log_t) / size

    slopes = eqx.filter_jit(jax.jacfwd(velocity, argnums=1))
    first, calls = float(curve.log_t[-1]), 0

    def counted(u, w):
        nonlocal calls
        calls += 1
        if calls > MOST_CALLS:
            raise TimeoutError
        return np.asarray(velocity(jnp.asarray(u), jnp.asarray(w)))

    ends = (first, first + SOON, first + FOLDS)
    try:
        with np.errstate(all="ignore"):  # trial steps
            found = scipy.integrate.solve_ivp(
                counted, (ends[0], ends[-1]), np.asarray(start) / size, "Radau", ends,
                rtol=1e-6, atol=1e-6,  # below, late velocities are rounding
                jac=lambda u, w: np.asarray(slopes(jnp.asarray(u), jnp.asarray(w))),
            )  # fmt: skip
    except TimeoutError:
        return {"reached": False}
    if not found.success:
        return {"reached": False}
    soon, moved = (float(np.linalg.norm(found.y[:, k] - found.y[:, 0])) for k in (1, 2))
    fallen = float(flow.log_loss(end)) - float(
        flow.log_loss(rebuild(jnp.asarray(size * found.y[:, -1])))
    )
    # What it does at once, and what of that may be the rounding of pulls that cancel.
    u, w = jnp.asarray(first), jnp.asarray(found.y[:, 0])
    drift = float(jnp.linalg.norm(velocity(u, w)))
    parts = np.abs(jax.jacrev(lambda w: flow.margins(rebuild(w)))(size * w))
    pulls = np.exp(np.asarray(flow.log_weights(flow.margins(end))) + first)
    # What margins are rounded by, in nats, is what their pulls are off by.
    pulls = ROUNDED * pulls * (1 + parts @ np.abs(start))
    rounding = float(np.linalg.norm(pulls @ parts)) / (size * len(pulls))
    return {
        "reached": True, "soon": soon, "moved": moved, "fallen": fallen,
        "drift": drift, "rounding": rounding,
    }  # fmt: skip


def confirmed(result, later):
    """Whether nothing happens later but what an early end says; `None` if Radau gave
    up, so that it is not known."""
    if not later["reached"]:
        return None
    if result == "critical_point":
        return later["moved"] <= STILL
    if result == "unresolved":  # a mode that is not known may leave at any time
        if later["drift"] <= later["rounding"]:
            return None  # Radau follows the rounding of pulls that cancel
        return later["soon"] <= STILL
    if result == "balanced":
        return abs(later["fallen"]) <= STILL
    # The others claim nothing of what the flow does.
    return result in ("out_of_steps", "step_underflow")


def run_one(flow, network, rtol, max_steps):
    """One row: how the run ended, and whether that is true as far as one can tell."""
    until = gflow.Until(log_margin_scale=LOG_SCALE)
    started = time.perf_counter()
    try:
        curve = gflow.solve(
            flow, network, until=until, rtol=rtol, throw=False, max_steps=max_steps
        )
    except ValueError as error:  # refused at the door
        return {"result": "refused", "message": str(error)[:200], "true": True}
    margins = np.asarray(flow.margins(jax.tree.map(lambda a: a[-1], curve.direction)))
    finite = bool(np.all(np.isfinite(curve.log_radius) & np.isfinite(curve.log_loss)))
    result = curve.result.name
    reached = abs(curve.degree * float(curve.log_radius[-1]) - LOG_SCALE) < 1e-9
    monotone = bool(np.all(np.diff(curve.log_t) >= 0))
    true = finite and monotone and (result == "successful") == reached
    later = None
    if result != "successful" and float(curve.log_t[-1]) < LATEST:
        later = goes_on(flow, curve)
        true = confirmed(result, later) if true else False
    return {
        "result": result,
        "true": true,
        "later": later,
        "verdict": curve.stats["verdict"],
        "steps": curve.stats["steps"],
        "rejected": curve.stats["rejected"],
        "failed": curve.stats["failed"],
        "gradients": round(curve.stats["gradients"]),
        "seconds": round(curve.stats["run_seconds"], 3),
        "wall": round(time.perf_counter() - started, 3),
        "margin": float(margins.min()),
        "log_scale": curve.degree * float(curve.log_radius[-1]),
        "log_t": float(curve.log_t[-1]),
    }


def main(structures=40, draws=5, rtol=1e-6, max_steps=3000, seed=0):
    """All runs; returns their rows."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(structures):
        structure = draw_structure(random)
        for _ in range(draws):
            flow, network, facts = draw_problem(random, structure)
            row = structure | facts | run_one(flow, network, rtol, max_steps)
            print(json.dumps(row), flush=True)
            rows.append(row)
        jax.clear_caches()
    ends = collections.Counter(row["result"] for row in rows)
    steps = [
        row["steps"] + row["rejected"] for row in rows if row["result"] == "successful"
    ]
    quantiles = np.quantile(steps, [0.1, 0.5, 0.9, 0.99]).tolist() if steps else []
    summary = {
        "runs": len(rows),
        "true": sum(row["true"] is True for row in rows),
        "unconfirmed": sum(row["true"] is None for row in rows),
        "ends": dict(ends),
        "steps at 10, 50, 90, 99 %": quantiles,
    }
    print(json.dumps(summary))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=int, default=40)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    main(arguments.structures, arguments.draws, seed=arguments.seed)
