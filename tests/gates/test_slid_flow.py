"""A flow that slides along a kink, in closed form."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest


X = np.array([[1.0, 0.5], [0.0, 1.0]])
Y = np.array([1.0, -1.0])


class Neuron(eqx.Module):
    """f(x) = relu(<w, x>), of degree one."""

    w: jax.Array

    def __call__(self, x):
        return jax.nn.relu(self.w @ x)


@pytest.mark.parametrize("log_t", [1.0, 3.0, 6.0])
def test_a_flow_slides_along_a_kink(log_t):
    """Started on the kink of the second sample.

    The first sample pulls along (1, 1/2); where <w, x_2> = w_2 > 0 the second pushes
    back along (0, 1), with more force as long as exp(-z_1) / 2 < 1. So the flow slides
    on w_2 = 0, with dw_1/dt = exp(-w_1) / 2, whence w_1 = log(exp(w_1(0)) + t / 2).
    """
    flow = gflow.GradientFlow(gflow.Exponential(), X, Y)
    until = gflow.Until(log_t=log_t)
    network = Neuron(jnp.array([1.0, 0.0]))
    curve = gflow.solve(flow, network, until=until, rtol=1e-9, progress=False)
    expected = [np.log(np.e + np.exp(log_t) / 2), 0.0]
    np.testing.assert_allclose(curve.network.w[-1], expected, rtol=0, atol=1e-8)
    gflow.testing.check_trajectory(curve, rtol=1e-9)


class Scaled(Neuron):
    """f(x) = a relu(<w, x>), which no loss keeps from being rescaled."""

    a: jax.Array

    def __call__(self, x):
        return self.a * super().__call__(x)


@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-9])
@pytest.mark.parametrize("angle", [0.7, 2.2])
def test_it_rests_on_a_kink(angle, rtol):
    """Where two samples want to turn the neuron to where the third resists.

    In coordinates turned by `angle`: the first and the last ask for a w_1 = 3 and 1,
    agree on 2, and both pull along w_2; the second pushes back from w_2 > 0, twice as
    hard. On the kink a^2 - |w|^2 is what it was, so that the end is known.
    """
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    x, y = np.array([[1.0, 0.5], [0.0, 1.0], [1.0, -0.5]]), np.array([3.0, -2.0, 1.0])
    w, a = np.array([0.5, 0.1]), 0.7
    flow = gflow.GradientFlow(gflow.Square(), x @ turn.T, y)
    network = Scaled(jnp.asarray(turn @ w), jnp.asarray(a))
    until = gflow.Until(log_t=30.0)
    curve = gflow.solve(flow, network, until=until, rtol=rtol, progress=False)
    gap = a**2 - w @ w
    last = np.sqrt((gap + np.hypot(gap, 4.0)) / 2)
    end = curve[-1].network
    expected = [2 / last, 0.0, last]
    found = [*(turn.T @ np.asarray(end.w)), float(end.a)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=100 * rtol)
    # At rest it costs nothing, and the loss does not rise.
    assert curve.stats["steps"] + curve.stats["rejected"] < 500
    assert np.max(np.diff(curve.log_loss)) < 1e-14
