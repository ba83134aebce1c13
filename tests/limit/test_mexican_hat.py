"""A homogeneous network whose direction never converges, and what is said about it."""

import functools
import math
from typing import Any

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import Until, problems
from gflow.experiments._mexican_hat import valley
from gflow.problems import MexicanHat
from hypothesis import given, strategies as st
from runs import flat
from scipy.integrate import quad
from test_limit import cut


ONE = jnp.ones(1)
U0 = 1 / 0.36  # 1 / c at s = 0.8
angles = st.floats(-20.0, 20.0)


def place(sine, psi):
    """The unit vector at s and psi."""
    phi = psi + 1 / (1 - sine**2)
    return jnp.array(
        [sine * math.cos(phi), sine * math.sin(phi), math.sqrt(1 - sine**2)]
    )


def depth(s):
    """A, of the curve psi = 0."""
    return 4 * s**4 / (4 * s**4 + (1 - s**2) ** 3)


@functools.cache
def run(end=1e10, rtol=1e-8, **start):
    flow, network = problems.mexican_hat(**start)
    until = Until(log_radius=end)
    return flow, gflow.solve(flow, network, until=until, rtol=rtol, progress=False)


def coordinates(curve):
    """log r, 1 / c, psi and phi, both angles counted on from the start."""
    w = np.asarray(curve.direction.weights)
    phi = np.unwrap(np.arctan2(w[:, 1], w[:, 0]))
    phi += 2 * np.pi * np.round((0.1 + U0 - phi[0]) / (2 * np.pi))
    steep = 1 / w[:, 2] ** 2
    return np.asarray(curve.log_radius), steep, phi - steep, phi


# The definition, and its derivatives.


@given(st.floats(0.2, 0.97), angles, st.floats(0.1, 10.0), st.sampled_from([1, 2, 3.5]))
def test_the_hat_is_its_formula(s, psi, radius, power):
    hat = math.exp(-1 / (1 - s**2)) * (1 - depth(s) * math.sin(psi))
    network = MexicanHat(radius * place(s, psi), power)
    assert float(network(ONE)) == pytest.approx(radius**power * (1 - hat), rel=1e-13)


@pytest.mark.parametrize("height", [0.0, 1e-200, 1e-3, 0.03])
def test_near_the_circle_the_hat_is_flat_to_all_orders(height):
    def value(w):
        return MexicanHat(w)(ONE)

    w = jnp.array([0.6, -0.8, height])
    assert jnp.allclose(jax.grad(value)(w), 2 * w, rtol=1e-15, atol=1e-15)
    assert jnp.allclose(jax.hessian(value)(w), 2 * jnp.eye(3), rtol=0, atol=1e-14)


def test_bad_starts_are_named():
    for name, value in (("sine", 1.0), ("sine", 0.0), ("power", 0.0), ("psi", np.nan)):
        wrong: dict[str, Any] = {name: value}
        with pytest.raises(ValueError, match=f"`{name}` must"):
            problems.mexican_hat(**wrong)
    with pytest.raises(ValueError, match=r"one input of shape \(1,\)"):
        MexicanHat(jnp.ones(3))(jnp.ones(2))


# The curve psi = 0: invariant, and repelling.


def speed_on_the_crest(phi, power=2.0):
    """The angle per log r, on psi = 0."""
    s = math.sqrt(1 - 1 / phi)
    return depth(s) / (power * s**2 * math.expm1(phi))


@pytest.mark.parametrize("power", [2.0, 3.0])
@pytest.mark.parametrize("phi", [1.5, 2.8, 5.0, 9.0])
def test_the_crest_is_invariant_and_has_its_speed(phi, power):
    s = math.sqrt(1 - 1 / phi)
    flow, network = problems.mexican_hat(power=power, sine=s, psi=0.0)
    theta = flat(network)
    pull = flat(jax.grad(lambda net: jnp.sum(flow.margins(net)))(network))
    velocity = (pull - (theta @ pull) * theta) / (theta @ pull)  # in log r
    angular = (theta[0] * velocity[1] - theta[1] * velocity[0]) / s**2
    steepening = -2 * velocity[2] / theta[2] ** 3
    rounding = 1e-14 * phi**2
    assert abs(angular - speed_on_the_crest(phi, power)) < rounding
    assert abs(steepening - angular) < 10 * rounding


def test_turns_on_the_crest():
    """Turns at logarithms of log r (2.61 ln 10, ..., 60), by quadrature."""

    def grown(phi):
        return quad(lambda phi: 1 / speed_on_the_crest(phi), U0, phi, epsrel=1e-10)[0]

    for turns, log_tau in ((0.45, 6.0), (1.37, 12.0), (9.00, 60.0)):
        low, high = (grown(U0 + 2 * np.pi * (turns + d)) for d in (-0.006, 0.006))
        assert math.log(low) < log_tau < math.log(high)


# The flow: it falls into the valley, and follows it.


def test_turns_in_the_valley():
    powers = np.array([12.0, 20.0, 26.0])
    steep, psi = valley(powers * np.log(10), U0, 0.1)
    turns = (steep + psi - U0 - 0.1) / (2 * np.pi)
    # It is 7.21 from psi = 0: the start is 0.016 turns behind.
    assert abs(turns[-1] + 0.1 / (2 * np.pi) - 7.21) < 0.01
    # 4 L U^3 e^U ~ tau, with a relative error of order 1 / U.
    assert np.all(
        np.abs(np.log(8 * steep**3) + steep - powers * np.log(10)) < 10 / steep
    )
    assert np.all(np.abs(psi - np.pi / 2) < 1 / steep**3)


def test_the_flow_is_that_of_an_independent_solver():
    _, curve = run()
    log_radius, steep, psi, _ = coordinates(curve)
    late = log_radius > 1e-2
    exact_steep, exact_psi = valley(np.log(log_radius[late]), U0, 0.1)
    assert np.max(np.abs(steep[late] - exact_steep)) < 1e-5
    assert np.max(np.abs(psi[late] - exact_psi)) < 1e-5


def test_the_flow_falls_into_the_valley_and_turns_for_ever():
    _, curve = run()
    log_radius, steep, psi, phi = coordinates(curve)
    assert psi[0] == pytest.approx(0.1)
    far = log_radius > 1e4
    assert np.all(np.abs(psi[far] - np.pi / 2) < 1 / steep[far] ** 3)
    # Turns for each power of ten of log r do not become fewer.
    decades = np.searchsorted(log_radius, 10.0 ** np.arange(2, 11) * (1 - 1e-12))
    angles = np.diff(phi[decades])
    assert np.all(np.diff(angles) > 0)
    assert 0.8 < angles[0] < angles[-1] < np.log(10)
    # So does the length of the path, s being at most 1.
    lengths = np.diff(np.asarray(gflow.paths.length(curve))[decades])
    assert np.all(lengths > np.sqrt(1 - 1 / steep[decades[:-1]]) * angles)
    assert np.all(lengths < angles * (1 + 1 / steep[decades[:-1]]))
    margins = np.asarray(curve.map(gflow.margins.normalized))
    assert np.min(np.diff(margins)) > -1e-15
    assert 0 < 1 - margins[-1] < np.exp(-steep[-1])


def test_a_cubed_hat_and_the_other_loss_do_the_same():
    _, curve = run(1e6, 1e-6, power=3.0, loss=gflow.Exponential(), psi=0.1)
    log_radius, steep, psi, _ = coordinates(curve)
    # At the same radius the flow of degree L is as far as that of degree 2 at 2 / L.
    exact, _ = valley(np.log(log_radius[-1:] * 2 / 3), U0, 0.1)
    assert abs(steep[-1] - exact[0]) < 1e-3
    assert abs(psi[-1] - np.pi / 2) < 1 / steep[-1] ** 3


# The verdict.


@pytest.mark.parametrize("end", [1e2, 1e4, 1e6, 1e8, 1e10])
def test_no_limit_is_certified(end):
    _, curve = run()
    here = cut(curve, int(np.searchsorted(curve.log_radius, end)))
    limit = gflow.limit(here)
    assert limit.verdict == "not yet"
    assert "as long as that does not fall, it does not converge" in str(limit)


@pytest.mark.parametrize("psi", [np.pi / 2, 0.0, -np.pi / 2])
@pytest.mark.parametrize("steep", [15.0, 18.0, 22.0, 26.0, 29.0, 35.0, 60.0, 900.0])
def test_none_is_certified_where_the_flow_all_but_stands_still(steep, psi):
    start = {"sine": math.sqrt(1 - 1 / steep), "psi": psi}
    _, curve = run(1.0, 1e-6, **start)
    limit = gflow.limit(curve)
    assert limit.verdict == "not yet"
    if steep >= 35:  # all is flat in 64 bits
        assert limit.stability.neutral == 2
        assert "lead along no surface of stationary directions" in str(limit)
