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
