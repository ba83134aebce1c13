"""The weights of a stage solve their equation, however sharp the softmin."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow._field import Field
from gflow._solvers import _careful, _equation, _positive, _weights
from gflow._solvers._dual import linear_weights, stage_weights
from gflow._solvers._gram import DenseGram
from gflow._solvers._positive import FactoredPositive
from gflow._solvers._weights import solve_weights
from hypothesis import given, strategies as st
from stages import FLOWS, SEEN, flow_of, positive, residual_of


@eqx.filter_jit
def solve(flow, weights, shift, gram, *others):
    guess = gram.motion(weights)
    return solve_weights(flow, weights, shift, gram, *others, guess)[0]


def dense(gram, response=None):
    response = np.zeros((12, 1)) if response is None else response
    return DenseGram(jnp.asarray(gram), jnp.asarray(response))


@pytest.mark.parametrize("unit", [1.0, 1e-4, 1e4])
@given(seed=st.integers(0, 999), log_scale=st.floats(3.0, 14.0))
def test_a_poor_guess_is_no_obstacle_in_any_unit(unit, seed, log_scale):
    # 160 margins that pull together, and weights that are far from theirs.
    flow = gflow.GradientFlow(gflow.CrossEntropy(), np.ones((40, 1)), np.arange(40) % 5)
    random = np.random.default_rng(seed)
    root = (random.normal(size=(160, 200)) + random.uniform(0, 2)) / 10
    shift = 10 ** random.uniform(-3, -1) * random.normal(size=160)
    guess = jax.nn.softmax(random.uniform(0, 20) * random.normal(size=160))
    gram, scale, eta = jnp.asarray(root @ root.T), np.exp(log_scale), 100.0
    # Margins are in this unit: the equations are the same ones.
    gram, shift, scale, eta = gram * unit**2, shift * unit, scale / unit, eta / unit
    q = solve(
        flow, guess, jnp.asarray(shift), positive(gram), scale, jnp.ones(160, bool),
        jnp.asarray(eta), jnp.asarray(1e-11),
    )  # fmt: skip
    residual = np.log(q) - flow.log_weights(scale * (shift + eta * gram @ q))
    assert np.ptp(np.asarray(residual)[np.asarray(q) > 1e-9]) <= 1e-3


def equation(log_scale, seed=0):
    """A Gram matrix, a shift and a scale."""
    random = np.random.default_rng(seed)
    root = random.normal(size=(12, 30)) / 6
    return root @ root.T, 1e-2 * random.normal(size=12), np.exp(log_scale)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("log_scale", [-30.0, 0.0, 10.0, 23.0])
def test_weights_solve_their_equation(name, log_scale):
    flow, (gram, shift, scale) = flow_of(name), equation(log_scale)
    q = solve(
        flow, jnp.full(12, 1 / 12), jnp.asarray(shift), positive(gram), scale, SEEN,
        0.3, jnp.asarray(1e-14),
    )  # fmt: skip
    residual, rounding = residual_of(flow, q, gram, shift, scale)
    assert abs(float(jnp.sum(q)) - 1) <= 1e-13
    assert np.ptp(residual[np.asarray(q) > 1e-12 * np.max(q)]) <= rounding


@pytest.mark.parametrize("name", ["logistic", "exponential of classes"])
def test_margins_that_nothing_moves_do_not_count(name):
    flow, (gram, shift, scale) = flow_of(name), equation(3.0)
    seen = np.arange(12) % 3 > 0
    gram[~seen], gram[:, ~seen], shift[~seen] = 0, 0, -50.0
    q = solve(
        flow, jnp.full(12, 1 / 12), jnp.asarray(shift), positive(gram), scale,
        jnp.asarray(seen), 0.3, jnp.asarray(1e-14),
    )  # fmt: skip
    assert np.sum(np.asarray(q)[~seen]) < 1e-200
    residual, rounding = residual_of(flow, q, gram, shift, scale)
    assert np.ptp(residual[seen & (np.asarray(q) > 1e-12)]) <= rounding


@pytest.mark.parametrize("name", FLOWS)
def test_steps_for_any_matrix_converge_to_the_same_weights(name):
    flow, (gram, shift, scale) = flow_of(name), equation(1.0, seed=1)
    tilted = gram + 0.1 * np.triu(np.ones((12, 12)), 1)  # neither symmetric nor flat
    q = jnp.full(12, 1 / 12)
    for _ in range(40):
        q = linear_weights(
            flow, q, jnp.asarray(shift), dense(tilted), scale, SEEN, 0.3
        )  # fmt: skip
    residual, rounding = residual_of(flow, q, tilted, shift, scale)
    assert np.ptp(residual) <= rounding


def large_problem(seed, log_scale):
    """An equation in features of all sizes, its solution, and the rounding of that.

    With eta R K up to 1e15: weights of 16 digits do not tell what they move.
    """
    random = np.random.default_rng(seed)
    factor = random.normal(size=(200, 12)) * 10.0 ** random.uniform(-2, 4, 12)
    scale, eta = np.exp(log_scale), 1e3
    flow = gflow.GradientFlow(gflow.Logistic(), np.ones((200, 1)), np.ones(200))
    margins = jnp.asarray(random.uniform(-2, 9, 200))
    q = jax.nn.softmax(flow.log_weights(margins))
    moved = factor.T @ np.asarray(q)
    shift = margins / scale - eta * factor @ moved
    near = 1e-2 / (scale * eta * np.max(np.abs(factor), axis=0))
    equation = (
        flow, q * (1 + 1e-4 * random.normal(size=200)), shift,
        FactoredPositive(jnp.asarray(factor), jnp.ones(12)), scale,
        jnp.ones(200, bool), jnp.asarray(eta), jnp.asarray(0.0),
        jnp.asarray(moved + near * random.normal(size=12)),
    )  # fmt: skip
    # What the shift is rounded to is all that is lost.
    lost = 1e-15 * scale * np.max(np.abs(eta * factor) @ np.abs(moved))
    return equation, q, 1e-6 + 30 * lost


@given(seed=st.integers(0, 999), log_scale=st.floats(0.0, 10.0))
def test_features_of_all_sizes_leave_the_balance_of_many_its_digits(seed, log_scale):
    equation, q, allowed = large_problem(seed, log_scale)
    found, *_ = eqx.filter_jit(solve_weights)(*equation)
    np.testing.assert_allclose(found, q, rtol=allowed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (_equation, "NEAR", 0.1),
        (_weights, "NEAR", 0.1),
        (_careful, "SHARES", np.asarray([0.8, 0.3, 0.05])),
        (_weights, "BOLD", 3),
        (_positive, "REFINED", 5),
    ],
)
def test_other_constants_find_the_same_weights(module, name, value, monkeypatch):
    monkeypatch.setattr(module, name, value)
    for seed in (3, 8):
        equation, q, allowed = large_problem(seed, 5.0)
        found, *_ = jax.jit(lambda e=equation: solve_weights(*e))()
        np.testing.assert_allclose(found, q, rtol=allowed)


SHARP = ["logistic", "exponential", "tail 1/2", "tail 2"]


@pytest.mark.parametrize("name", SHARP)
@given(
    seed=st.integers(0, 999), log_scale=st.floats(-2.0, 14.0), spread=st.floats(0, 3)
)
def test_few_weights_are_found_at_any_scale(name, seed, log_scale, spread):
    """From a total that is far off: the shifts are of any size."""
    flow, random = flow_of(name), np.random.default_rng(seed)
    root = random.normal(size=(12, 30)) / 6
    gram, scale = root @ root.T, np.exp(log_scale)
    shift = random.normal(size=12) * 10 ** random.uniform(-2, 0)
    shift += random.choice([-0.5, 0.0, 0.5])
    guess = jax.nn.softmax(spread * jnp.asarray(random.normal(size=12)))
    q, _, error = eqx.filter_jit(solve_weights)(
        flow, guess, jnp.asarray(shift), positive(gram), scale, SEEN, 0.3,
        jnp.asarray(1e-10), jnp.zeros(12),
    )  # fmt: skip
    assert float(error) <= 1e-10
    residual, rounding = residual_of(flow, q, gram, shift, scale)
    steep = float(
        jnp.max(
            flow.loss.weight_slopes(
                scale * jnp.asarray(shift + 0.3 * gram @ q)[:, None]
            )[0]
        )
    )
    moved = 1e-10 * scale * max(steep, 1.0) * np.sqrt(np.max(np.diag(gram)))
    heavy = np.asarray(q) > 1e-10
    assert np.ptp(residual[heavy]) <= 1e-6 + 10 * (rounding + moved)


@given(seed=st.integers(0, 999), log_scale=st.floats(-2.0, 6.0))
def test_margins_that_nothing_moves_leave_the_others_of_their_sample(seed, log_scale):
    flow, random = flow_of("cross-entropy"), np.random.default_rng(seed)
    seen = random.uniform(size=12) > 0.4
    seen[0] = True
    root = random.normal(size=(12, 30)) / 6
    root[~seen] = 0.0
    gram, scale, shift = root @ root.T, np.exp(log_scale), 0.1 * random.normal(size=12)
    q, _, error = eqx.filter_jit(solve_weights)(
        flow, jnp.full(12, 1 / 12), jnp.asarray(shift), positive(gram), scale,
        jnp.asarray(seen), 0.3, jnp.asarray(1e-12), jnp.zeros(12),
    )  # fmt: skip
    assert float(error) <= 1e-12
    residual, rounding = residual_of(flow, q, gram, shift, scale)
    assert np.sum(np.asarray(q)[~seen]) <= 1e-200
    assert np.ptp(residual[seen & (np.asarray(q) > 1e-9)]) <= 1e-6 + rounding


def test_a_weight_of_all_leaves_the_others_their_digits():
    # One margin pulls at nothing and has all of the weight; the rest have 1e-16 of it.
    flow, (gram, shift, _) = flow_of("logistic"), equation(0.0)
    gram[0], gram[:, 0] = 0, 0
    shift = np.append(0.0, 4.0 + np.abs(shift[1:]))
    scale, eta = 9.0, 1e13
    q = jnp.full(12, 1 / 12)
    for _ in range(3):
        q = solve(
            flow, q, jnp.asarray(shift), positive(gram), scale, SEEN, eta,
            jnp.asarray(1e-14),
        )  # fmt: skip
    margins = scale * (shift + eta * gram @ q)
    residual = np.log(q) - flow.log_weights(jnp.asarray(margins))
    assert 0 < float(jnp.max(q[1:])) < 1e-11
    assert np.ptp(np.asarray(residual)) <= 1e-6


def test_free_weights_solve_their_linear_equation():
    gram, shift, _ = equation(0.0)
    flow = gflow.GradientFlow(gflow.Square(), np.ones((4, 1)), np.ones((4, 3)))
    network = gflow.nn.DeepLinear(1, (2,), 3, key=jax.random.key(0))
    field = Field(flow, network, gflow.clocks.Time(), 2.0)
    response = np.random.default_rng(0).normal(size=(12, 5))
    q, answer, _ = stage_weights(
        field, jnp.zeros(12), jnp.asarray(shift), dense(gram, response),
        jnp.asarray(True), jnp.asarray(1.0), SEEN, jnp.asarray(0.3), jnp.asarray(1e-14),
        jnp.zeros(5),
    )  # fmt: skip
    expected = -(shift + 0.3 * gram @ q)
    np.testing.assert_allclose(q, expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(answer, response.T @ q, rtol=0, atol=1e-13)
