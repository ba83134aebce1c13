"""A flow that slides along a kink, in closed form; and the way to exact kinks."""

import math

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest


WIDTHS = (1e-3, 1e-4, 1e-5)
X = np.array([[1.0, 0.5], [0.0, 1.0]])
Y = np.array([1.0, -1.0])


class Neuron(eqx.Module):
    """f(x) = relu(<w, x>), smoothed, of degree one."""

    w: jax.Array
    eps: gflow.nn.Fixed

    def __call__(self, x):
        return gflow.nn.relu(self.w @ x, gflow.nn.radius(self), self.eps.value)


def slid(eps, log_t, rtol=1e-9):
    """The weights at a time, started on the kink of the second sample.

    The first sample pulls along (1, 1/2); where <w, x_2> = w_2 > 0 the second pushes
    back along (0, 1), with more force as long as exp(-z_1) / 2 < 1. So the flow slides
    on w_2 = 0, with dw_1/dt = exp(-w_1) / 2, whence w_1 = log(exp(w_1(0)) + t / 2).
    """
    network = Neuron(jnp.array([1.0, 0.0]), gflow.nn.Fixed(jnp.asarray(eps)))
    flow = gflow.GradientFlow(gflow.Exponential(), X, Y)
    curve = gflow.solve(
        flow, network, until=gflow.Until(log_t=log_t), rtol=rtol, progress=False
    )
    return np.asarray(curve.networks.w[-1])


def exact(log_t):
    return np.array([np.log(np.e + np.exp(log_t) / 2), 0.0])


@pytest.mark.parametrize("log_t", [1.0, 3.0, 6.0])
def test_a_sliding_flow_is_off_by_a_multiple_of_the_width(log_t):
    errors = [np.linalg.norm(slid(eps, log_t) - exact(log_t)) for eps in WIDTHS]
    order = np.polyfit(np.log(WIDTHS), np.log(errors), 1)[0]
    # The gate of the kink settles at s = exp(-w_1) / 2 to first order, and so w_2 at
    # eps |w| logit(s).
    w = exact(log_t)[0]
    assert errors[-1] <= 1.5 * WIDTHS[-1] * w * (w + np.log(2))
    assert abs(order - 1) <= 0.05


def test_extrapolation_returns_the_sliding_flow_and_an_honest_error():
    found = gflow.extrapolate(lambda eps: slid(eps, 3.0), WIDTHS)
    wrong = np.abs(found.value - exact(3.0))
    assert np.all(wrong <= found.error + 1e-8)
    assert np.max(wrong) <= 1e-6


def test_a_polynomial_in_the_width_is_extrapolated_exactly():
    found = gflow.extrapolate(lambda eps: np.array([2 + eps, 1 - 3 * eps + eps**2]))
    np.testing.assert_allclose(found.value, [2, 1], rtol=0, atol=1e-14)
    assert found.values.shape == (3, 2)


@pytest.mark.parametrize(
    "widths", [(1e-3, 1e-4), (1e-5, 1e-4, 1e-3), (1e-3, 1e-4, 0.0)]
)
def test_widths_that_do_not_fall(widths):
    with pytest.raises(ValueError, match="`widths` must be at least three falling"):
        gflow.extrapolate(lambda eps: eps, widths)


def test_values_that_cannot_be_extrapolated():
    with pytest.raises(ValueError, match="`of_eps` must return finite numbers"):
        gflow.extrapolate(lambda eps: np.nan)


def test_a_network_of_exact_relus_by_extrapolation():
    flow, network = gflow.problems.relu2()

    def margin(eps):
        plain = gflow.nn.MLP.from_weights(network.weights, power=1, eps=eps)
        end = gflow.Until(log_margin_scale=43 * math.log(10))
        # Two thousand small steps along kinks are no stall.
        curve = gflow.solve(flow, plain, until=end, rtol=1e-8, progress=False)
        return curve.map(lambda net: gflow.normalized_margin(flow, net))[-1]

    found = gflow.extrapolate(margin, (1e-4, 3e-5, 1e-5))
    assert found.error <= 1e-7
    assert abs(found.value - margin(1e-8)) <= found.error
