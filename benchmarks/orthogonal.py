"""Orthogonal inputs: when does a small ReLU network fit half of each class?

Two-layer ReLUs, square loss, inputs orthogonal to each other, a small balanced start. A
coordinate of a neuron along an input that reaches zero is frozen for ever, so the flow
is a smooth one between events: an independent reference, by SciPy's LSODA. Neurons
align first, then the labels of one sign are fitted and then those of the other, after
times that grow like log(1 / scale).

    python -m benchmarks.orthogonal      # from the root of the repository

References:
    Boursier, Pillaud-Vivien and Flammarion (2022), "Gradient flow dynamics of shallow
    ReLU networks for square loss and orthogonal inputs", arXiv:2206.00939.
"""

import argparse
import math
import os


# Before NumPy loads: several BLAS threads make small factorizations far slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import gflow
import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from benchmarks import _bench


SCALES = (1e-3, 1e-12, 1e-30)
COLUMNS = ("case", "steps", "rejected", "events", "seconds", "half_positive")
COLUMNS += ("half_negative", "error", "norm_gap", "missed")


def problem(scale, seed=0, samples=8, features=10, width=24):
    """Orthogonal inputs of several lengths, labels of both signs, balanced neurons."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(features, features)))
    lengths = rng.uniform(0.5, 2.0, samples)
    y = rng.uniform(0.5, 2.0, samples) * np.where(np.arange(samples) % 2, 1, -1)
    inner = rng.normal(size=(width, features))
    outer = np.sign(rng.normal(size=width)) * np.linalg.norm(inner, axis=1)
    return basis, lengths, y, scale * inner, scale * outer


def share_fitted(outputs, y, side):
    """How much of the labels of one sign is fitted, less a half."""
    return np.sum((y * outputs)[side]) / np.sum(y[side] ** 2) - 0.5


def reference(basis, lengths, y, inner, outer, end):
    """The times at which half of each sign is fitted, by integration between events."""
    samples, width = y.size, outer.size
    sides = {"half_positive": y > 0, "half_negative": y < 0}
    u, a = inner @ basis[:samples].T, outer.copy()
    moving, time, found = u > 0, 0.0, {}

    def outputs(state):
        u, a = state[:u_size].reshape(width, samples), state[u_size:]
        return lengths * (a @ np.maximum(u, 0))

    def motion(_, state):
        u, a = state[:u_size].reshape(width, samples), state[u_size:]
        pull = (y - outputs(state)) * lengths / samples
        grown = a[:, None] * moving * pull
        return np.concatenate([grown.ravel(), (np.maximum(u, 0) * moving) @ pull])

    def dies(index):
        def event(_, state):
            return state[index]

        event.terminal, event.direction = True, -1
        return event

    u_size = u.size
    while time < end:
        alive = np.flatnonzero(moving)
        halves = [
            lambda _, state, side=side: share_fitted(outputs(state), y, side)
            for side in sides.values()
        ]
        smallest = np.max(np.abs(u))
        solution = solve_ivp(
            motion, (time, end), np.concatenate([u.ravel(), a]), method="LSODA",
            rtol=1e-11, atol=1e-13 * smallest, events=[*map(dies, alive), *halves],
        )  # fmt: skip
        for name, times in zip(sides, solution.t_events[-2:], strict=True):
            if times.size:
                found.setdefault(name, float(times[0]))
        time, state = solution.t[-1], solution.y[:, -1]
        u, a = state[:u_size].reshape(width, samples).copy(), state[u_size:].copy()
        ended = np.array([times.size > 0 for times in solution.t_events[:-2]], bool)
        u.ravel()[alive[ended]], moving.ravel()[alive[ended]] = 0.0, False
    return found


def measure(scale, rtol=1e-6):
    """One scale: the half-fitting times, and how far they are from the reference."""
    basis, lengths, y, inner, outer = problem(scale)
    x = basis[: y.size] * lengths[:, None]
    end = 12 * math.log(1 / scale) + 60
    expected = reference(basis, lengths, y, inner, outer, end)
    network = gflow.nn.MLP.from_weights([inner, outer], power=1)
    flow = gflow.GradientFlow(gflow.Square(), x, y)
    until = gflow.Until(log_t=math.log(end))

    def solve():
        return gflow.solve(flow, network, until=until, rtol=rtol, progress=False)

    solve()
    seconds, _, curve = _bench.timed(solve)
    row = {
        "case": f"orthogonal inputs from {scale:g}",
        "rtol": rtol,
        "steps": curve.stats["steps"],
        "rejected": curve.stats["rejected"],
        "events": curve.stats["events"],
        "seconds": seconds,
        "expected": expected,
    }
    errors = []
    for name, time in expected.items():
        side = y > 0 if name == "half_positive" else y < 0

        def lacking(log_t, side=side):
            then = curve.at(log_t=log_t).network
            outputs = jax.vmap(jax.tree.map(lambda leaf: leaf[0], then))(x)
            return share_fitted(np.ravel(outputs), y, side)

        low, high = math.log(time) - 0.5, min(math.log(time) + 0.5, math.log(end))
        row[name] = math.exp(brentq(lacking, low, high, xtol=1e-13))
        errors.append(abs(row[name] / time - 1))
    final = jax.tree.map(lambda leaf: leaf[-1], curve.network)
    sizes = jnp.linalg.norm(final.weights[0], axis=1) * jnp.abs(final.weights[1])
    parts = (y / lengths) ** 2
    least = np.sqrt(np.sum(parts[y > 0])) + np.sqrt(np.sum(parts[y < 0]))
    # Of the network of least norm that fits all, which small starts come to.
    row |= {"norm_gap": float(jnp.sum(sizes)) / least - 1, "error": max(errors)}
    return _bench.emit(_bench.judged(row, error=100 * rtol))


def main(scales=SCALES):
    """Measure all scales, print their rows, and return them."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    rows = [measure(scale) for scale in scales]
    _bench.table(rows, COLUMNS)
    return rows


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
