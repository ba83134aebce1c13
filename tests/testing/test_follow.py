"""The independent solver, against closed forms; and what it says where it fails."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.integrate
from gflow.testing import FollowError, follow


class Linear(eqx.Module):
    w: jax.Array

    def __call__(self, x):
        return self.w @ x


class Product(eqx.Module):
    """u v of one sample, and what is no weight."""

    w: jax.Array
    name: str = "product"
    factor: gflow.nn.Fixed = gflow.nn.Fixed(1.0)

    def __call__(self, x):
        return self.w[0] * self.w[1] * x[0] * self.factor.value


X = np.array([[2.0, 1.0]])
ONE = gflow.GradientFlow(gflow.Exponential(), X, np.array([1.0]))
LOG_T = np.array([-3.0, 0.0, 5.0, 50.0, 1e4])


@pytest.mark.parametrize("method", ["LSODA", "Radau"])
@pytest.mark.parametrize("scale", [30.0, 1.0, 1e-8, 1e-100])
def test_one_sample_is_followed_as_in_closed_form(method, scale):
    # z(t) = log(e^z0 + |x|^2 t)
    network = Linear(scale * jnp.array([0.03, -0.01]))
    found = np.asarray(follow(ONE, network, LOG_T, method=method).w) @ X[0]
    start = float(network(X[0]))
    expected = np.logaddexp(start, np.log(5.0) + LOG_T)
    np.testing.assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize("method", ["BDF", "DOP853", "RK45", "RK23"])
def test_every_method_follows(method):
    network = Linear(jnp.array([0.03, -0.01]))
    found = follow(ONE, network, 2.0, method=method)(X[0])
    expected = np.logaddexp(float(network(X[0])), np.log(5.0) + 2.0)
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_two_weights_keep_what_is_conserved_and_all_that_is_no_weight():
    # Balanced, Ei(a) - Ei(a0) = 2 t; not balanced, u^2 - v^2 stays.
    flow = gflow.GradientFlow(gflow.Logistic(), np.array([[1.0]]), np.ones(1))
    network = Product(jnp.array([1.0, 0.4]))
    found = follow(flow, network, [0.0, 9.0])
    u, v = np.asarray(found.w).T
    np.testing.assert_allclose(u**2 - v**2, 0.84, rtol=1e-7)
    angle = np.arctan2(0.4, 1.0)
    growth = np.log(np.hypot(u, v) / np.hypot(1.0, 0.4))
    exact = gflow.reference.two_weights(angle, growth).angle
    np.testing.assert_allclose(np.arctan2(v, u), exact, rtol=1e-7)
    assert found.name == "product"
    assert found.factor.value == 1.0


def test_regression_is_followed_to_a_fit_that_is_exact():
    # The error of one weight is exp(-t) times that at the start, and 0 / 0 is not met.
    flow = gflow.GradientFlow(gflow.Square(), np.array([[1.0, 0.0]]), np.array([2.0]))
    found = follow(flow, Linear(jnp.array([1.0, 0.5])), [0.0, 6.0])
    np.testing.assert_allclose(found.w[0, 0], 2 - np.exp(-1.0), rtol=1e-8)
    np.testing.assert_allclose(found.w[1], [2.0, 0.5], rtol=1e-8)
    still = follow(flow, Linear(jnp.array([2.0, 0.5])), 6.0)
    np.testing.assert_array_equal(still.w, [2.0, 0.5])


def test_a_steepest_flow_is_followed_by_its_own_motion():
    # One sample: the motion of the smoothed norm is along one direction always.
    flow = gflow.SteepestFlow(gflow.Exponential(), X, np.array([1.0]), norm="linf")
    found = follow(flow, Linear(jnp.array([0.5, 0.5])), 3.0).w - 0.5
    direction = flow.norm_of(((2,),)).direction(jnp.asarray(X[0]))
    np.testing.assert_allclose(found / found[0], direction / direction[0], rtol=1e-7)
    assert found[0] > 0.5


def test_classes_are_followed_as_by_numpy():
    x = np.random.default_rng(0).normal(size=(6, 3))
    y = np.arange(6) % 3
    network = gflow.nn.DeepLinear(3, (), 3, key=jr.key(0))

    def velocity(_, w):
        logits = x @ w.reshape(3, 3).T
        shares = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
        return ((np.eye(3)[y] - shares).T @ x).ravel() / 6

    start = np.asarray(network.weights[0]).ravel()
    exact = scipy.integrate.solve_ivp(
        velocity, (0.0, np.exp(3.0)), start, "DOP853", rtol=1e-11, atol=1e-12
    ).y[:, -1]
    flow = gflow.GradientFlow(gflow.CrossEntropy(), x, y)
    found = follow(flow, network, 3.0).weights[0]
    np.testing.assert_allclose(np.ravel(found), exact, atol=1e-7)


def test_a_failure_says_so():
    flow, network = gflow.problems.cubic()
    with pytest.raises(FollowError, match=r"LSODA gave up near log t = .* 51 calls"):
        follow(flow, network, 1e5, max_calls=50)


class Explodes(eqx.Module):
    w: jax.Array

    def __call__(self, x):
        return jnp.log(2.0 - self.w @ x)


def test_a_field_that_is_not_finite_is_a_failure():
    flow = gflow.GradientFlow(gflow.Exponential(), X, np.array([-1.0]))
    with pytest.raises(FollowError, match="gave up near log t"):
        follow(flow, Explodes(jnp.array([0.1, 0.1])), 30.0, method="DOP853")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "Euler"}, "`method` must be one of"),
        ({"rtol": 0.0}, r"`rtol` must lie in"),
        ({"log_t": [1.0, 0.0]}, "`log_t` must be finite and increasing"),
        ({"log_t": np.inf}, "`log_t` must be finite and increasing"),
        ({"flow": None}, "`flow` must be a"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    arguments = {"flow": ONE, "network": Linear(jnp.ones(2)), "log_t": 1.0} | options
    with pytest.raises(ValueError, match=message):
        follow(**arguments)
