"""Trajectories that several test files share, each solved once a process.

Data of one shape, and one network a name, so that each is compiled once.
"""

import functools
from typing import Any

import equinox as eqx
import gflow
import jax
import jax.random as jr
import numpy as np
from gflow import problems


def _random():
    network = gflow.nn.MLP(4, (5, 3), power=1.5, leak=0.3, key=jr.key(1))
    x, y = gflow.data.separable(12, 4, shift=0.2, seed=1)
    return problems.Problem(gflow.GradientFlow(gflow.Exponential(), x, y), network)


PROBLEMS = {
    "relu2": problems.relu2,
    "cubic": problems.cubic,
    "relu2, exponential": lambda: problems.relu2(gflow.Exponential()),
    "linear, exponential": lambda: problems.linear(gflow.Exponential()),
    "random, exponential": _random,
}
FAR = 1e21
EXPONENTIAL = [name for name in PROBLEMS if name.endswith("exponential")]


@functools.cache
def problem(name):
    """A flow and the network it starts from."""
    return PROBLEMS[name]()


@functools.cache
def curve(name, rtol=1e-6, log_t=FAR) -> Any:
    """The default solver on a problem, with its dense output."""
    return gflow.solve(
        *problem(name), until=gflow.Until(log_t=log_t), rtol=rtol, progress=False
    )


def directions(trajectory):
    """The directions as vectors, one a time."""
    leaves = jax.tree.leaves(eqx.filter(trajectory.direction, eqx.is_inexact_array))
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def distance(one, other):
    """How far apart two trajectories are in direction, at each time."""
    return np.linalg.norm(directions(one) - directions(other), axis=1)


def same(one, other):
    """Whether two trajectories agree in every bit, their seconds apart."""
    arrays = [
        jax.tree.leaves(
            (t.tau, t.log_t, t.log_radius, t.direction, t.log_loss, t.weights, t.steps)
        )
        for t in (one, other)
    ]
    counts = [
        {k: v for k, v in t.stats.items() if not k.endswith("seconds")}
        for t in (one, other)
    ]
    return counts[0] == counts[1] and all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(*arrays, strict=True)
    )


@eqx.filter_jit
def margins(flow, direction):
    """The margins at radius one, at each time."""
    return eqx.filter_vmap(flow.margins)(direction)


def exact_log_rate(flow, trajectory):
    r"""$\log \mathrm dt/\mathrm d\tau$ at each time, from the margins themselves."""
    log_scale = trajectory.degree * np.asarray(trajectory.log_radius)
    z = np.exp(log_scale)[:, None] * np.asarray(margins(flow, trajectory.direction))
    log_weights = np.asarray(flow.loss.log_weight(z))
    log_pull = np.logaddexp.reduce(log_weights, axis=1) - np.log(z.shape[1])
    return -log_pull - (trajectory.degree - 2) * np.asarray(trajectory.log_radius)
