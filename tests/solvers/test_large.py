"""A Jacobian that is not formed: the same flow, whatever the network."""

import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from curves import distance
from gflow import _jacobian
from gflow._clock import choose_field
from gflow._jacobian import Slopes, by_rows, gram_by_blocks, jacobian_of
from gflow._trajectory import Trajectory
from points import start_of
from tiers import but_slow


def smooth(key):
    return gflow.nn.MLP(4, (90,), power=2, leak=-1.0, key=key)


NETWORKS = {
    "smooth": smooth,
    "squared ReLU": lambda key: gflow.nn.MLP(4, (90,), power=2, key=key),
    "ReLU": lambda key: gflow.nn.MLP(4, (90,), power=1, key=key),
    "deep": lambda key: gflow.nn.MLP(4, (18, 18), power=2, leak=-1.0, key=key),
}


def problem(name, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(10, 4))
    if name == "logits":
        y, loss = random.integers(0, 3, size=10), gflow.CrossEntropy()
        network = gflow.nn.MLP(4, (70,), 3, power=2, leak=-1.0, key=jr.key(seed))
    else:
        y, loss = np.sign(x[:, 0] * x[:, 1]), gflow.Logistic()
        network = NETWORKS[name](jr.key(seed))
    return gflow.GradientFlow(loss, x, y), network


def at_start(name):
    flow, network = problem(name)
    field, _ = choose_field(flow, network, None)
    return field, start_of(field, network)[0]


@pytest.mark.parametrize("name", [*NETWORKS, "logits"])
@pytest.mark.parametrize("at_once", [1, 2_000, 2**17])  # a row, some, and all
def test_products_and_sums_are_those_of_the_matrix(monkeypatch, name, at_once):
    monkeypatch.setattr(_jacobian, "AT_ONCE", at_once)
    field, point = at_start(name)
    _, matrix = field.jacobian(point)
    slopes = Slopes(field, point)
    random = np.random.default_rng(1)
    dual = jnp.asarray(random.random(len(matrix)))
    np.testing.assert_allclose(dual @ slopes, dual @ matrix, rtol=1e-12, atol=1e-14)

    def fn(rows, numbers, dual):
        return (jnp.sum(rows, axis=1) + numbers, dual @ jnp.abs(rows))

    for found, right in zip(
        jax.tree.leaves(by_rows(slopes, fn, dual)),
        jax.tree.leaves(by_rows(matrix, fn, dual)),
        strict=True,
    ):
        np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["smooth", "logits"])
@pytest.mark.parametrize("rows", [1, 3, 4, 100])
def test_a_gram_matrix_by_blocks_is_that_of_the_matrix(monkeypatch, name, rows):
    monkeypatch.setattr(_jacobian, "COLUMNS", 64)
    field, point = at_start(name)
    _, matrix = field.jacobian(point)
    damping = 1 + jnp.asarray(np.random.default_rng(2).random(point.size))
    most = rows * point.size * field.flow.per_sample
    found = gram_by_blocks(Slopes(field, point), lambda r: 2 * r, damping, most)
    right = 4 * (matrix / damping[None]) @ matrix.T
    np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-13)
    assert np.array_equal(found, found.T)


def test_only_large_jacobians_that_are_not_tall_are_not_formed(monkeypatch):
    field, point = at_start("smooth")
    assert not isinstance(jacobian_of(field, point)[1], Slopes)
    monkeypatch.setattr(_jacobian, "LARGE", 10 * point.size)
    assert isinstance(jacobian_of(field, point)[1], Slopes)
    monkeypatch.setattr(_jacobian, "is_tall", lambda margins, weights: True)
    assert not isinstance(jacobian_of(field, point)[1], Slopes)


@pytest.mark.parametrize(
    "name", but_slow([*NETWORKS, "logits"], "smooth", "squared ReLU", "ReLU", "logits")
)
def test_the_flow_is_the_same_without_a_matrix(monkeypatch, name):
    flow, network = problem(name)
    until = gflow.Until(log_radius=8.0)

    def solve() -> Trajectory:
        jax.clear_caches()
        return gflow.solve(flow, network, until=until, rtol=1e-6, progress=False)

    formed = solve()
    monkeypatch.setattr(_jacobian, "LARGE", 1)
    free = solve()
    assert free.result == gflow.RESULTS.successful
    assert free.stats["failed"] <= formed.stats["failed"] + 1
    times = np.linspace(0.0, float(min(formed.log_t[-1], free.log_t[-1])), 5)
    assert np.max(distance(formed.at(log_t=times), free.at(log_t=times))) <= 1e-4
    margins = [float(gflow.margins.normalized(c[-1])) for c in (formed, free)]
    np.testing.assert_allclose(*margins, rtol=1e-4)
    jax.clear_caches()
