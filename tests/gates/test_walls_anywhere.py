"""Walls are the same for other hidden numbers, in more weights, in other units."""

import gflow
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import _foot, _holding, _jacobian, _seen, _walls, _ways
from gflow._integrate import _meeting
from lost_samples import LATE, apart, late, problem, solved
from tiers import but_slow


CONSTANTS = [
    [(_ways, "NEAR", 0.03), (_holding, "BEHIND", 3e-3), (_walls, "WALLS", 5)],
    [
        (_ways, "BACK", 0.2),
        (_meeting, "HEAVY", 3e-3),
        (_meeting, "AHEAD", 0.01),
        (_walls, "TURN", 3e-3),
        (_walls, "POLISHED", 3),
        (_holding, "ROUNDED", 3e-15),
        (_meeting, "STILL", 0.03),
        (_ways, "MATCH", 1e-5),
        (_ways, "STEEPEST", 5),
        (_seen, "LIGHT", 0.1),
    ],
    [
        (_ways, "SHARES", (0.5, 0.05)),
        (_meeting, "HALF", 0.3),
        (_ways, "SAME", 3e-3),
        (_meeting, "AIM", 0.5),
        (_meeting, "FLAT", 1e-7),
    ],
    [
        (_ways, "NEAR", 0.2),
        (_ways, "LEAST_NEAR", 1e-11),
        (_ways, "MOST", 4),
        (_ways, "ENTRIES", 1),
        (_holding, "EQUAL", 1e-7),
        (_meeting, "RAISED", 1e-2),
        (_foot, "UNSURE", 1e-9),
        (_foot, "EDGE", 0.1),
        (_foot, "MOST_BENT", 30.0),
        (_foot, "FLAT", 1e-5),
    ],
]


@pytest.mark.slow
@pytest.mark.parametrize("numbers", CONSTANTS)
def test_other_constants_are_the_same_flow(numbers, monkeypatch):
    flow, network, expected = late(50)
    before = solved(flow, network, log_t=LATE)
    for module, name, value in numbers:
        assert getattr(module, name) != value
        monkeypatch.setattr(module, name, value)
    jax.clear_caches()
    try:
        curve = solved(flow, network, log_t=LATE)
    finally:
        jax.clear_caches()
    assert not np.array_equal(curve.log_t, before.log_t)  # other steps were taken
    assert apart(curve, expected) <= 1e-4


def embedded(seed, weights=140):
    """The same flow in a space of more features, and how to come back from there."""
    flow, network, expected = late(seed)
    features = np.asarray(flow.x).shape[1]
    random = np.random.default_rng(seed)
    rows = np.linalg.qr(random.normal(size=(weights, features)))[0].T
    wide = gflow.GradientFlow(gflow.Logistic(), np.asarray(flow.x) @ rows, flow.y)
    first, *others = (np.asarray(w) for w in network.weights)
    many = gflow.nn.MLP.from_weights([first @ rows, *others], power=2)

    def back(network):
        first, *others = (np.ravel(w) for w in network.weights)
        first = np.ravel(first.reshape(-1, weights) @ rows.T)
        return np.concatenate([first, *others])

    return wide, many, back, expected


@pytest.mark.parametrize("large", but_slow([2**20, 1], 2**20))  # a matrix, and none
def test_walls_are_the_same_among_many_weights(monkeypatch, large):
    flow, network, back, expected = embedded(58)
    monkeypatch.setattr(_jacobian, "LARGE", large)
    jax.clear_caches()
    try:
        curve = solved(flow, network, log_t=LATE)
    finally:
        jax.clear_caches()
    assert curve.result == gflow.RESULTS.successful
    assert curve.stats["walls"] > 0
    found = back(curve[-1].network)
    assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize("unit", [1e-3, 30.0])
def test_units_of_the_data_are_of_no_matter(unit):
    """x times c and w times s with s^7 c^4 = 1: the same flow in time s^2 t."""
    flow, network = problem(58)
    scale = unit ** (-4 / 7)
    other = gflow.GradientFlow(gflow.Logistic(), unit * np.asarray(flow.x), flow.y)
    scaled = jax.tree.map(lambda w: scale * w, network)
    one = solved(flow, network, log_t=LATE)
    two = solved(other, scaled, log_t=LATE + 2 * np.log(scale))
    assert one.stats["walls"] == two.stats["walls"] > 0
    directions = [jax.flatten_util.ravel_pytree(c[-1].direction)[0] for c in (one, two)]
    assert float(jnp.linalg.norm(directions[0] - directions[1])) <= 1e-4


@pytest.mark.parametrize(("size", "count"), [(1, 3), (7, 7), (40, 8)])
def test_the_largest_of_some_numbers(size, count):
    values = np.random.default_rng(size).integers(0, 9, size).astype(float)
    best, places = _ways._largest(jnp.asarray(values), count)
    some = min(size, count)
    np.testing.assert_array_equal(best[:some], np.sort(values)[::-1][:some])
    np.testing.assert_array_equal(values[np.asarray(places[:some])], best[:some])
    assert len(set(np.asarray(places[:some]).tolist())) == some
    assert np.all(np.asarray(best[some:]) < 0)  # there are no more
