"""Kinks behind kinks: maxima over three and more, and ReLUs after ReLUs."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import but_slow


class Max(eqx.Module):
    """A maximum over three linear functions, written in one way or another."""

    w: jax.Array
    order: tuple[int, int, int] | None = eqx.field(static=True)

    def __call__(self, x):
        u = self.w @ x
        if self.order is None:
            return jnp.max(u)
        a, b, c = self.order
        return jnp.maximum(jnp.maximum(u[a], u[b]), u[c])


class Nested(Max):
    """The same by ReLUs of ReLUs."""

    def __call__(self, x):
        u = self.w @ x
        return u[0] + jax.nn.relu(u[1] - u[0] + jax.nn.relu(u[2] - u[1]))


W = jnp.array([[1.0, 0.1], [0.9, -0.2], [0.8, 0.3]])
WAYS = [
    Max(W, None),
    Max(W, (0, 1, 2)),
    Max(W, (0, 2, 1)),
    Max(W, (1, 2, 0)),
    Nested(W, None),
]


def falling(t):
    r"""A maximum that is pushed down by $e^v / 2$, shared by all that tie.

    The third is alone from 0.3 to 0.1, with the first to -0.2, and then all three are.
    """
    v, left = 0.3, t
    for k, end in enumerate((0.1, -0.2, -np.inf), 1):
        last = -np.log(np.exp(-v) + left / (2 * k))
        if last >= end:
            return last
        left -= 2 * k * (np.exp(-end) - np.exp(-v))
        v = end
    raise AssertionError


@pytest.mark.parametrize("way", but_slow(range(len(WAYS)), 1, 2, 3))
def test_three_that_tie_fall_together(way):
    x, y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1.0, -1.0])
    flow = gflow.GradientFlow(gflow.Exponential(), x, y)
    until = gflow.Until(log_t=np.log(10.0))
    curve = gflow.solve(flow, WAYS[way], until=until, rtol=1e-7, progress=False)
    rises = np.log(np.exp(1.0) + 10.0 / 2)
    found = np.asarray(curve.network.w)[-1]
    np.testing.assert_allclose(found[0, 0], rises, rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], falling(10.0), rtol=1e-6)
    loss = np.log((np.exp(-rises) + np.exp(falling(10.0))) / 2)
    np.testing.assert_allclose(curve.log_loss[-1], loss, atol=1e-6)


class Maxout(eqx.Module):
    """Two units, each a maximum over several."""

    w: jax.Array
    a: jax.Array

    def __call__(self, x):
        return self.a @ jnp.max((self.w @ x).reshape(len(self.a), -1), axis=1)


def maxout(pieces):
    def drawn(random):
        w, a = random.normal(size=(2 * pieces, 2)), random.normal(size=2)
        return Maxout(jnp.asarray(w), jnp.asarray(a))

    return drawn


def three_layers(random):
    weights = [random.normal(size=s) for s in ((4, 2), (3, 4), (3,))]
    return gflow.nn.MLP.from_weights(weights)


@pytest.mark.parametrize("seed", but_slow(range(6), 2, 3, 4, 5))
@pytest.mark.parametrize(
    "kind", [maxout(3), pytest.param(maxout(4), marks=pytest.mark.slow), three_layers]
)
def test_losses_are_those_of_the_networks_themselves(kind, seed):
    """A gate that is wrong without a word shows in them."""
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(6, 2)), random.choice([-1.0, 1.0], 6)
    flow = gflow.GradientFlow(gflow.Exponential(), x, y)
    curve = gflow.solve(
        flow, kind(random), until=gflow.Until(log_t=3.0), progress=False, throw=False,
        max_steps=400,
    )  # fmt: skip
    margins = np.asarray(curve.map(lambda point: point.margins))
    own = np.log(np.mean(np.exp(-margins), axis=1))
    np.testing.assert_allclose(curve.log_loss, own, atol=2e-6)


def test_a_gate_that_turns_another_behind_it():
    """An inner kink that moves nothing by itself lets an outer one be passed."""
    random = np.random.default_rng(11)
    for _ in range(63):
        x, y = random.normal(size=(5, 2)), random.choice([-1.0, 1.0], 5)
        network = three_layers(random)
    flow = gflow.GradientFlow(gflow.Exponential(), x, y)
    until, times = gflow.Until(log_t=np.log(20.0)), np.log([5.0, 10.0, 16.0, 20.0])
    curve = gflow.solve(flow, network, until=until, rtol=1e-6, progress=False)

    def falls(weights, _):
        gradient = jax.grad(lambda w: jnp.exp(flow.log_loss(at(w))))(weights)
        return jax.tree.map(lambda w, g: w - 1e-3 * g, weights, gradient), None

    def at(weights):
        return eqx.tree_at(lambda net: net.weights, network, weights)

    go = jax.jit(lambda weights, n: jax.lax.fori_loop(
        0, n, lambda _, w: falls(w, None)[0], weights
    ))  # fmt: skip
    weights, done, expected = network.weights, 0, []
    for count in (5_000, 10_000, 16_000, 20_000):
        weights, done = go(weights, count - done), count
        expected.append(float(flow.log_loss(at(weights))))
    found = np.asarray(curve.at(log_t=times).log_loss)
    np.testing.assert_allclose(found, expected, atol=2e-3)
