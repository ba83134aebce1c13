"""Networks of squared ReLUs that cannot fit all their samples, and where they go."""

import functools

import gflow
import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.integrate


LATE = 13.0


def problem(seed, hidden=(3, 3), power=2, samples=6, features=3):
    random = np.random.default_rng(seed)
    x = random.normal(size=(samples, features))
    y = random.choice([-1.0, 1.0], size=samples)
    y[0] = -y[1]
    network = gflow.nn.MLP(features, hidden, power=power, key=jr.key(seed))
    network = jax.tree.map(lambda a: 1.5 * a, network)
    return gflow.GradientFlow(gflow.Logistic(), x, y), network


def solved(flow, network, rtol=1e-6, **until):
    goal = gflow.Until(**until)
    return gflow.solve(
        flow, network, until=goal, rtol=rtol, throw=False, progress=False
    )


def by_radau(flow, network, log_t):
    """The weights at a time, of the loss as it is."""
    start, rebuild = jax.flatten_util.ravel_pytree(network)

    @jax.jit
    def velocity(log_t, w):
        value, slope = jax.value_and_grad(lambda w: flow.log_loss(rebuild(w)))(w)
        return -slope * jnp.exp(value + log_t)

    slopes = jax.jit(jax.jacfwd(velocity, argnums=1))
    found = scipy.integrate.solve_ivp(
        lambda u, w: np.asarray(velocity(u, w)), (-8.0, log_t), np.asarray(start),
        "Radau", [log_t], rtol=1e-9, atol=1e-12,
        jac=lambda u, w: np.asarray(slopes(u, w)),
    )  # fmt: skip
    assert found.success
    return found.y[:, -1]


@functools.cache
def late(seed):
    flow, network = problem(seed)
    return flow, network, by_radau(flow, network, LATE)


def apart(curve, expected):
    found = jax.flatten_util.ravel_pytree(curve[-1].network)[0]
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
