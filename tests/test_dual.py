"""The weights of a stage solve their equation, however sharp the softmin."""

import gflow
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from gflow._solvers._dual import solve_weights, wright_omega
from hypothesis import given, strategies as st


@given(x=st.floats(-600.0, 1e15))
def test_wright_omega_solves_its_equation(x):
    found = float(wright_omega(jnp.asarray(x)))
    expected = mpmath.lambertw(mpmath.exp(x)) if x < 300 else x - mpmath.log(found)
    assert abs(found - float(expected.real)) <= 1e-14 * found


@pytest.mark.parametrize("loss", [gflow.Exponential(), gflow.Logistic()])
@pytest.mark.parametrize("log_scale", [-30.0, 0.0, 10.0, 23.0])
def test_weights_solve_their_equation(loss, log_scale):
    random = np.random.default_rng(0)
    root = random.normal(size=(12, 30)) / 6
    gram, shift = root @ root.T, 1e-2 * random.normal(size=12)
    scale = np.exp(log_scale)
    q, _ = solve_weights(
        loss, jnp.full(12, 1 / 12), jnp.asarray(shift), jnp.asarray(gram), scale, 0.3,
        jnp.asarray(1e-14),
    )  # fmt: skip
    margins = scale * (shift + 0.3 * gram @ q)
    target = loss.log_weight(jnp.asarray(margins))
    residual = np.log(q) - target
    held = np.asarray(q) > 1e-12
    spread = np.ptp(np.asarray(residual)[held])
    assert abs(float(jnp.sum(q)) - 1) <= 1e-13
    # Rounding of the margins, times the scale, is what the equation can be held to.
    assert spread <= 1e-10 + 1e-14 * scale
