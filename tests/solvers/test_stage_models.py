"""The linear models of a stage: what is formed of the curvature of the margins."""

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow._field import Field
from gflow._framing import make_frame
from gflow._solvers._model import curved_model, flat_model
from gflow._walls import no_walls
from points import start_of


def model_and_frame(eta):
    """The curved model at the start of `relu2`, and all of the matrix by autodiff."""
    flow, network = gflow.problems.relu2()
    field = Field(flow, network, gflow.clocks.Polar(), 3.0)
    point, log_radius = start_of(field, network)
    dual = jnp.full(20, 0.05)
    _, gradient = field.negative_gradient(point, dual)
    start = field, point, log_radius, dual, gradient, no_walls(point.size)
    frame = make_frame(*start, eta, 1e-6)
    eta = jnp.asarray(eta)
    flat = flat_model(frame, 1 + eta * frame.rate, eta)
    start = jnp.zeros(())
    model = curved_model(
        frame, point, dual, start, eta, frame.weight, flat, jnp.asarray(True)
    )
    motion = jax.jacrev(lambda x: frame.negative_gradient(start, x, dual)[1])(point)
    return model, flat, np.diag(1 + eta * frame.rate) - eta * motion


@pytest.mark.parametrize("eta", [0.3, 30.0])
def test_the_curved_model_solves_the_stage_linearized(eta):
    model, _, matrix = model_and_frame(eta)
    vector = jnp.sin(jnp.arange(len(matrix)))
    assert not model.flat
    scale = np.linalg.cond(matrix)
    assert np.max(np.abs(matrix @ model.undo(vector) - vector)) <= 1e-13 * scale
    response = np.linalg.solve(matrix, model.jacobian.T).T
    assert np.max(np.abs(model.gram.response - response)) <= 1e-13 * scale
    gram = model.jacobian @ response.T
    assert np.max(np.abs(model.gram.matrix - gram)) <= 1e-12 * scale


def test_the_flat_model_knows_the_growth_of_units_and_no_curvature():
    _, flat, matrix = model_and_frame(0.3)
    vector = jnp.arange(1.0, len(matrix) + 1)
    assert np.allclose(flat.undo(vector), vector / np.maximum(flat.damping, 1.0))
    gram = flat.gram.matrix
    assert np.allclose(gram, gram.T)
    assert np.all(np.linalg.eigvalsh(gram) >= -1e-15)
