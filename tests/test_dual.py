"""The weights of a stage solve their equation, however sharp the softmin."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from gflow._solvers._dual import solve_weights, wright_omega
from hypothesis import given, strategies as st


solve = eqx.filter_jit(solve_weights)


@given(x=st.floats(-600.0, 1e15))
def test_wright_omega_solves_its_equation(x):
    found = float(wright_omega(jnp.asarray(x)))
    expected = mpmath.lambertw(mpmath.exp(x)) if x < 300 else x - mpmath.log(found)
    assert abs(found - float(expected.real)) <= 1e-14 * found


BINARY = np.resize([1.0, -1.0], 12)
CLASSES = np.resize([0, 1, 2, 3], 4)
FLOWS = {
    "exponential": (gflow.Exponential(), BINARY),
    "logistic": (gflow.Logistic(), BINARY),
    "cross-entropy": (gflow.CrossEntropy(), CLASSES),
    "exponential of classes": (gflow.Exponential(), CLASSES),
    "tail 1/2": (gflow.ExponentialTail(0.5), BINARY),
    "tail 2": (gflow.ExponentialTail(2.0), BINARY),
}


def flow_of(name):
    """A flow with twelve margins."""
    loss, y = FLOWS[name]
    return gflow.GradientFlow(loss, np.ones((len(y), 1)), y)


# Under clocks of time, where weights are not normalized, margins are never scaled up.
DUALS = [("simplex", s) for s in (-30.0, 0.0, 10.0, 23.0)]
DUALS += [("positive", s) for s in (-30.0, -2.0, 0.0)]


@given(seed=st.integers(0, 999), log_scale=st.floats(3.0, 14.0))
def test_a_poor_guess_is_no_obstacle(seed, log_scale):
    # 160 margins that pull together, and weights that are far from theirs.
    flow = gflow.GradientFlow(gflow.CrossEntropy(), np.ones((40, 1)), np.arange(40) % 5)
    random = np.random.default_rng(seed)
    root = (random.normal(size=(160, 200)) + random.uniform(0, 2)) / 10
    shift = 10 ** random.uniform(-3, -1) * random.normal(size=160)
    guess = jax.nn.softmax(random.uniform(0, 20) * random.normal(size=160))
    gram, scale, eta = jnp.asarray(root @ root.T), np.exp(log_scale), 100.0
    q, _ = solve(
        flow, "simplex", guess, jnp.asarray(shift), gram, scale, jnp.asarray(0.0),
        jnp.asarray(eta), jnp.asarray(1e-9),
    )  # fmt: skip
    residual = np.log(q) - flow.log_weights(scale * (shift + eta * gram @ q))
    assert np.ptp(np.asarray(residual)[np.asarray(q) > 1e-9]) <= 1e-3


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize(("dual", "log_scale"), DUALS)
def test_weights_solve_their_equation(name, dual, log_scale):
    flow = flow_of(name)
    random = np.random.default_rng(0)
    root = random.normal(size=(12, 30)) / 6
    gram, shift = root @ root.T, 1e-2 * random.normal(size=12)
    scale = np.exp(log_scale)
    q, _ = solve_weights(
        flow, dual, jnp.full(12, 1 / 12), jnp.asarray(shift), jnp.asarray(gram), scale,
        jnp.asarray(0.7), 0.3, jnp.asarray(1e-14),
    )  # fmt: skip
    margins = scale * (shift + 0.3 * gram @ q)
    residual = np.log(q) - flow.log_weights(jnp.asarray(margins))
    held = np.asarray(residual)[np.asarray(q) > 1e-12 * np.max(q)]
    # Rounding of the margins, times the scale, is what the equation can be held to,
    # times the steepness of the tail.
    steepness = np.max(flow.loss.weight_slopes(margins.reshape(-1, flow.rivals))[0])
    rounding = 1e-10 + 1e-14 * scale * max(float(steepness), 1.0)
    if dual == "simplex":
        assert abs(float(jnp.sum(q)) - 1) <= 1e-13
        assert np.ptp(held) <= rounding
    else:
        assert np.max(np.abs(held - 0.7)) <= rounding


def test_free_weights_solve_their_linear_equation():
    random = np.random.default_rng(0)
    root = random.normal(size=(12, 30)) / 6
    gram, shift = root @ root.T, random.normal(size=12)
    flow = gflow.GradientFlow(gflow.Square(), np.ones((4, 1)), np.zeros((4, 3)))
    q, _ = solve_weights(
        flow, "free", jnp.zeros(12), jnp.asarray(shift), jnp.asarray(gram), 1.0,
        jnp.asarray(-1.3), 0.3, jnp.asarray(1e-14),
    )  # fmt: skip
    expected = -np.exp(-1.3) * (shift + 0.3 * gram @ q)
    np.testing.assert_allclose(q, expected, rtol=0, atol=1e-14)
