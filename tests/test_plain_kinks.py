"""Plain kinks: found where they bend the output, and only there."""

# Wrong types are passed on purpose.
# pyright: reportArgumentType=false

from collections.abc import Callable

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gflow.nn import (
    MLP,
    DenseNet,
    SmoothMLP,
    maximum,
    relu,
)
from gflow.nn._plain_kinks import plain_kinks
from kinks import KEY, kinked


X = np.random.default_rng(0).normal(size=(7, 4))


class OneLayer(eqx.Module):
    """A layer of weights, and any function after it."""

    weight: jax.Array
    function: Callable = eqx.field(static=True)

    def __call__(self, x):
        return jnp.sum(self.function(self.weight @ x))


SHARP = {
    "relu": (jax.nn.relu, ["relu"]),
    "leaky relu": (jax.nn.leaky_relu, ["leaky_relu"]),
    "relu6": (jax.nn.relu6, ["relu6"]),
    "maximum": (lambda u: jnp.maximum(u, 0), ["max"]),
    "largest": (jnp.max, ["max"]),
    "absolute value": (lambda u: jnp.abs(jnp.sin(u)), ["abs"]),
    "clip": (lambda u: jnp.clip(u, -1, 1), ["max", "min"]),
    "where": (lambda u: jnp.where(u > 0, u, 0.1 * u), ["where"]),
    "times a condition": (lambda u: u * (u > 0), ["where"]),
    "jitted": (jax.jit(lambda u: jnp.minimum(jnp.sin(u), 0)), ["min"]),
    "two": (lambda u: jnp.abs(jax.nn.relu(u) - 1), ["relu", "abs"]),
    "scan": (
        lambda u: jax.lax.scan(lambda c, _: (jax.nn.relu(c), None), u, None, 2)[0],
        ["relu"],
    ),
    "checkpoint": (jax.checkpoint(lambda u: jnp.abs(u)), ["abs"]),
    "pooling": (
        lambda u: eqx.nn.MaxPool1d(2)(u[None]),
        ["max pooling"],
    ),
}


@pytest.mark.parametrize(("function", "names"), SHARP.values(), ids=SHARP.keys())
def test_plain_kinks_are_named(function, names):
    network = OneLayer(jr.normal(KEY, (5, 4)), function)
    assert plain_kinks(network, X[0]) == names


def test_max_pooling_of_images_is_named():
    layers = [eqx.nn.Conv2d(1, 2, 2, key=KEY), eqx.nn.MaxPool2d(2)]
    assert plain_kinks(eqx.nn.Sequential(layers), np.ones((1, 6, 6))) == ["max pooling"]


SMOOTH = {
    "softplus": jax.nn.softplus,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softmax": jax.nn.softmax,
    "logsumexp": jax.nn.logsumexp,
    "norm": lambda u: u / jnp.linalg.norm(u),
    "relu squared": lambda u: jax.nn.relu(u) ** 2,
    "cubed size": lambda u: jnp.abs(u) ** 3.0,
    "square root of a power": lambda u: jnp.square(jax.nn.leaky_relu(u)) ** 0.75,
    "our relu": lambda u: relu(u, 2.0),
    "our maximum": maximum,
    "stopped": lambda u: u * jax.lax.stop_gradient(jnp.max(jnp.abs(u))),
    "guarded": lambda u: jnp.sin(u) / jnp.where(u == 0, 1.0, u),
}


@pytest.mark.parametrize("function", SMOOTH.values(), ids=SMOOTH.keys())
def test_smooth_functions_have_no_plain_kinks(function):
    assert plain_kinks(OneLayer(jr.normal(KEY, (5, 4)), function), X[0]) == []


OURS = [make(1e-3) for make in kinked.values()]
OURS += [MLP(4, (3,), power=power, leak=0.1, key=KEY) for power in (2, 3, 1.5)]
OURS += [SmoothMLP(4, (3,), key=KEY), DenseNet(4, (3,), key=KEY)]


@pytest.mark.parametrize("network", OURS, ids=lambda network: type(network).__name__)
def test_our_networks_have_no_plain_kinks(network):
    assert plain_kinks(network, X[0]) == []


def test_kinks_before_the_weights_do_not_count():
    inner = OneLayer(jr.normal(KEY, (5, 4)), jnp.tanh)
    assert plain_kinks(lambda x: inner(jnp.abs(x)), X[0]) == []


def followed(function):
    flow = gflow.GradientFlow(gflow.Logistic(), X, np.resize([1.0, -1.0], 7))
    network = OneLayer(jr.normal(KEY, (5, 4)), function)
    gflow.solve(flow, network, until=gflow.Until(log_t=-2.0), progress=False)


def test_solve_tells_of_plain_kinks():
    with pytest.warns(gflow.KinkWarning, match=r"sharp kinks \(relu\): .*nn.relu"):
        followed(jax.nn.relu)
    followed(lambda u: relu(u, 2.0))  # warnings are errors
    followed(jax.nn.softplus)
