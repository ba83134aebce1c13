"""Weights in which a network is linear may come to zero, and go on beyond it."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow._integrate import _attempt
from scipy.integrate import solve_ivp


class Linear(eqx.Module):
    w: jax.Array

    def __call__(self, x):
        return self.w @ x


def solved(loss, x, y, w, **options):
    options = {"until": gflow.Until(log_t=30.0), "rtol": 1e-7} | options
    flow = gflow.GradientFlow(loss, x, y)
    return gflow.solve(flow, Linear(jnp.asarray(w)), progress=False, **options)


@pytest.mark.parametrize("start", [-0.3, -4.0])
@pytest.mark.parametrize("x", [0.7, 3.0])
def test_one_weight_of_the_wrong_sign(start, x):
    r"""$e^{w x} = e^{w_0 x} + x^2 t$ under the exponential loss."""
    curve = solved(gflow.Exponential(), np.array([[x]]), np.array([1.0]), [start])
    log_t = np.linspace(-3.0, 30.0, 200)
    w = np.asarray(curve.at(log_t=log_t).network.w)[:, 0]
    exact = np.logaddexp(start * x, log_t + 2 * np.log(x)) / x
    assert np.min(exact) < 0 < np.max(exact)
    np.testing.assert_allclose(w, exact, rtol=3e-6, atol=1e-5 * abs(start))
    assert np.all(np.diff(curve.log_t) >= 0)
    assert np.all(np.diff(curve.log_loss) <= 1e-12)


@pytest.mark.parametrize("loss", [gflow.Logistic(), gflow.ExponentialTail(2.0)])
def test_many_samples_on_a_line(loss):
    """Also in more dimensions: what is at right angles to all samples stays zero."""
    line, way = np.array([1.0, 0.4, -0.5]), np.array([0.6, 0.0, -0.8])
    x, y = line[:, None] * way, np.sign(line)
    curve = solved(loss, x, y, -2.0 * way, until=gflow.Until(log_t=4.0))
    flow = curve.flow

    def motion(_, w):
        loss = jax.grad(lambda w: jnp.exp(flow.log_loss(Linear(w * way))))
        return -np.asarray(loss(jnp.asarray(w[0])))[None]

    found = solve_ivp(
        motion, (0, np.exp(4.0)), [-2.0], method="LSODA", rtol=1e-9, atol=1e-11
    )
    np.testing.assert_allclose(curve[-1].network.w, found.y[0, -1] * way, rtol=1e-5)
    far = solved(loss, x, y, -2.0 * way, until=gflow.Until(log_margin_scale=99.0))
    np.testing.assert_allclose(far[-1].direction.w, way, atol=1e-12)


@pytest.mark.parametrize(("name", "value"), [("AT_ZERO", -60.0), ("TURNED", 1e-6)])
def test_when_it_turns_is_of_no_matter(name, value, monkeypatch):
    data = gflow.Logistic(), np.array([[1.0], [0.2]]), np.array([1.0, 1.0])
    usual = solved(*data, [-1.5])
    monkeypatch.setattr(_attempt, name, value)
    jax.clear_caches()  # what is compiled has the number of before
    varied = solved(*data, [-1.5])
    jax.clear_caches()
    log_t = np.linspace(-3.0, 29.0, 50)
    a, b = (np.asarray(c.at(log_t=log_t).network.w) for c in (usual, varied))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_curve_turns_at_once():
    """Between the steps before zero and after it the radius has one minimum."""
    curve = solved(gflow.Logistic(), np.array([[1.0, 0.5]]), np.ones(1), [-1.0, -0.5])
    least = int(np.argmin(curve.log_radius))
    tau = np.linspace(curve.tau[least - 3], curve.tau[least + 3], 200)
    fine = curve.at(tau=tau)
    falls = np.diff(fine.log_radius) < 0
    assert np.all(falls == (tau[1:] <= curve.tau[least]))
    signs = np.sign(np.asarray(fine.direction.w)[:, 0])
    assert np.count_nonzero(np.diff(signs)) == 1
    assert len(curve) == 1 + curve.stats["steps"]


class Even(eqx.Module):
    w: jax.Array

    def __call__(self, x):
        return jnp.sqrt(jnp.sum((self.w * x) ** 2))


def test_a_network_that_is_not_odd_stops_at_zero(tmp_path):
    flow = gflow.GradientFlow(gflow.Logistic(), np.ones((1, 2)), -np.ones(1))
    network, path = Even(jnp.ones(2)), tmp_path / "run"
    curve = gflow.solve(
        flow, network, until=gflow.Until(log_t=5.0), checkpoint=path, progress=False,
        throw=False,
    )  # fmt: skip
    assert curve.result == gflow.RESULTS.step_underflow
    again = gflow.resume(path, flow, network, progress=False, throw=False)
    assert again.result == gflow.RESULTS.step_underflow
