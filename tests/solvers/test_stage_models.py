"""The linear models of a stage: what is formed of the curvature of the margins."""

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
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


@pytest.mark.parametrize(("offset", "seed"), [(1e3, 2), (5e3, 5), (1e4, 7)])
def test_features_with_an_offset(offset, seed):
    """Weights of sizes far apart, and a stage that rounding leaves at some 1e-10."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(6, 3)) + np.array([offset, 0.0, 0.0])
    y = np.array([1.0, -1.0] * 3)
    start = np.array([1e-3, 0.0, 0.0])

    def motion(_, w):
        return (y / (1 + np.exp(y * (x @ w)))) @ x / 6

    exact = scipy.integrate.solve_ivp(
        motion, (0, np.exp(9.0)), start, method="LSODA", rtol=1e-9, atol=1e-12
    ).y[:, -1]
    network = gflow.nn.DeepLinear.from_weights([jnp.asarray(start)])
    curve = gflow.solve(
        gflow.GradientFlow(gflow.Logistic(), x, y), network,
        until=gflow.Until(log_t=9.0), rtol=1e-4, progress=False, max_steps=400,
    )  # fmt: skip
    found = np.asarray(curve[-1].network.weights[0])
    np.testing.assert_allclose(found, exact, rtol=5e-3)
    np.testing.assert_allclose(x @ found, x @ exact, atol=5e-3)
