"""Solves that several test files read; each runs once a process."""

import functools

import gflow
import jax
import numpy as np
from gflow import Exponential, Logistic, Until
from scipy.integrate import cumulative_simpson


@functools.cache
def relu2_run():
    """Squared ReLUs, exponential loss, to R = 1e22: through a saddle, near the end."""
    flow, network = gflow.problems.relu2(Exponential())
    until = Until(log_margin_scale=50.0)
    run = gflow.solve(flow, network, until=until, rtol=1e-8, progress=False)
    return flow, network, run


@functools.cache
def linear_run():
    """Three linear layers, logistic loss, to R = 1e30."""
    flow, network = gflow.problems.linear(Logistic())
    until = Until(log_margin_scale=69.0)
    run = gflow.solve(flow, network, until=until, rtol=1e-8, progress=False)
    return flow, network, run


RUNS = {"relu2, exponential": relu2_run, "linear, logistic": linear_run}


def densely(run, log_scale, count=801):
    """The curve at equal steps of the polar clock, until R = exp(log_scale)."""
    last = np.argmax(run.degree * run.log_radius >= log_scale)
    return run.at(tau=np.linspace(run.tau[0], run.tau[last], count))


def integral(values, log_radius):
    """Of a function of log r along a curve, from its start to each sample."""
    return cumulative_simpson(np.asarray(values), x=log_radius, initial=0)


def numpy_margins_and_gradients(network, flow):
    """The margins and their gradients (samples, weights), by hand for two layers."""
    first, second = (np.asarray(weight) for weight in network.weights)
    u = np.maximum(np.asarray(flow.x) @ first.T, 0.0)
    inner = 2 * u[:, :, None] * second[:, None] * np.asarray(flow.x)[:, None, :]
    gradients = np.concatenate([inner.reshape(len(u), -1), u**2], axis=1)
    y = np.asarray(flow.y)
    return y * (u**2 @ second), y[:, None] * gradients


def flat(network):
    """All weights as one NumPy vector."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(network)])
