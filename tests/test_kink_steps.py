"""Kinks: located from the stages of a step, and what is formed of their curvature."""

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import _kinks
from gflow._polar import PolarField, polar_state
from gflow._solvers import SampleSpaceKvaerno3, SampleSpaceKvaerno5
from gflow._solvers._model import curved_model, flat_model


TABLE = SampleSpaceKvaerno5().table
KINKS = _kinks.kink_table(TABLE.nodes, TABLE.error)


def located(slopes):
    high, low, _ = _kinks._locate(KINKS, 2.0, 3.0, jnp.asarray(slopes))
    return float(low), float(high)


@pytest.mark.parametrize("place", [0.2, 0.48, 0.7, 0.95, 1.1])
def test_a_jump_is_located_between_the_stages(place):
    curve = np.stack([1 + TABLE.nodes, TABLE.nodes**2], axis=1)
    jump = np.outer(TABLE.nodes > place, [0.3, -0.1])
    low, high = located(curve + jump)
    assert low <= 2 * place <= high


@pytest.mark.parametrize("power", [3, 4, 5])
def test_a_smooth_velocity_has_no_kink(power):
    assert located(TABLE.nodes[:, None] ** power)[1] == -np.inf


def test_too_few_stages_tell_nothing():
    table = SampleSpaceKvaerno3().table
    assert _kinks.kink_table(table.nodes, table.error) is None


def test_the_curved_model_solves_the_stage_linearized():
    flow, network = gflow.problems.relu2()
    field = PolarField(flow, network, 3.0)
    state = polar_state(network)
    direction = state[:-1]
    weights, eta, sphere = jnp.full(20, 0.05), jnp.asarray(0.3), jnp.asarray(1.1)
    model = curved_model(field, state, weights, eta, sphere)
    hessian = jax.hessian(lambda d: weights @ field.margins(d))(direction)
    tangent = np.eye(direction.size) - np.outer(direction, direction)
    matrix = 1.1 * np.eye(direction.size) - 0.3 * tangent @ hessian @ tangent
    vector = jnp.sin(jnp.arange(direction.size))
    assert not model.flat
    assert np.allclose(matrix @ model.undo(vector), vector, rtol=0, atol=1e-12)
    response = np.linalg.solve(matrix, tangent @ model.jacobian.T).T
    assert np.allclose(model.response, response, rtol=0, atol=1e-12)
    assert np.allclose(model.gram, model.jacobian @ response.T, rtol=0, atol=1e-12)


def test_the_model_is_flat_where_a_long_step_meets_a_repelling_curvature():
    flow, network = gflow.problems.relu2()
    field = PolarField(flow, network, 3.0)
    state = polar_state(network)
    direction = state[:-1]
    one, weights = jnp.ones(()), jnp.full(20, 0.05)
    model = curved_model(field, state, weights, 1e3 * one, one)
    flat = flat_model(field.linearize(state, state), one)
    assert model.flat
    vector = jnp.arange(1.0, direction.size + 1)
    assert np.array_equal(model.undo(vector), vector)
    assert np.allclose(model.gram, flat.gram, rtol=0, atol=1e-12)
