"""Samples that are repeated, or multiples of others: their kinks are at one place."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import _settled


class Leaky(eqx.Module):
    """Two layers, plain or leaky."""

    w: jax.Array
    a: jax.Array
    leak: float = eqx.field(static=True)

    def __call__(self, x):
        return self.a @ jax.nn.leaky_relu(self.w @ x, self.leak)


def network(seed, leak=0.0):
    random = np.random.default_rng(seed)
    w, a = random.normal(size=(4, 2)), random.normal(size=4)
    return Leaky(jnp.asarray(w), jnp.asarray(a), leak)


X = np.random.default_rng(3).normal(size=(5, 2))
Y = np.array([1.0, -1.0, 1.0, -1.0, 1.0])


def solved(x, y, net, loss=None, log_t=4.0):
    flow = gflow.GradientFlow(loss or gflow.Logistic(), x, y)
    until = gflow.Until(log_t=log_t)
    curve = gflow.solve(flow, net, until=until, rtol=1e-7, progress=False)
    gflow.testing.check_trajectory(curve, rtol=1e-7)
    return curve


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_repeated_samples_are_the_same_flow(seed):
    times = [-1.0, 0.5, 2.0, 3.5]
    once = solved(X, Y, network(seed))
    twice = solved(np.vstack([X, X]), np.tile(Y, 2), network(seed))
    assert twice.stats["events"] > 1  # else nothing is shown
    found, expected = (curve.at(log_t=times).log_loss for curve in (twice, once))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("same", [1e-12, 1e-9])
@pytest.mark.parametrize("factor", [-1.0, 2.0])
def test_multiples_are_followed_as_by_small_steps(factor, same, monkeypatch):
    """Gradient descent of the exact network, whose steps go to and fro on kinks."""
    monkeypatch.setattr(_settled, "SAME", same)
    jax.clear_caches()  # what is compiled has the number of before
    x, y = np.vstack([X, factor * X]), np.tile(Y, 2)
    net, end, step = network(1, 0.2), 20.0, 2e-4
    curve = solved(x, y, net, gflow.Square(), np.log(end))
    flow = curve.field.flow
    slope = jax.grad(lambda net: jnp.exp(flow.log_loss(net)))

    def descend(_, net):
        return jax.tree.map(lambda w, s: w - step * s, net, slope(net))

    last = jax.jit(lambda net: jax.lax.fori_loop(0, round(end / step), descend, net))(
        net
    )
    assert curve.stats["events"] > 0  # else nothing is shown
    np.testing.assert_allclose(curve.log_loss[-1], flow.log_loss(last), atol=1e-3)
    np.testing.assert_allclose(curve[-1].network.w, last.w, atol=3e-3)
    jax.clear_caches()
