"""Samples that units begin to see in the midst of a step, as most of many do."""

import gflow
import jax
import jax.random as jr
import numpy as np
import pytest
from gflow import _dual_kinds, _framing, _seen
from gflow._field import Field
from gflow._integrate import _run
from jax.flatten_util import ravel_pytree


LOG_T = 4.0


def problem(samples, seed):
    """Noisy labels, and few squared ReLUs: many a sample is seen by none of them."""
    random = np.random.default_rng(seed)
    x, truth = random.normal(size=(samples, 4)), random.normal(size=4)
    y = np.sign(x @ truth + 0.3 * random.normal(size=samples))
    network = gflow.nn.MLP(4, (3,), power=2, key=jr.key(seed))
    return gflow.GradientFlow(gflow.Logistic(), x, y), network


def solved(flow, network, rtol=1e-6):
    until = gflow.Until(log_t=LOG_T)
    return gflow.solve(flow, network, until=until, rtol=rtol, progress=False)


def attempts(curve):
    return curve.stats["steps"] + curve.stats["rejected"]


def away(curve, exact):
    found = ravel_pytree(curve[-1].network)[0]
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize(
    ("samples", "seed"),
    [
        (150, 3),
        pytest.param(400, 4, marks=pytest.mark.slow),
        pytest.param(1500, 5, marks=pytest.mark.slow),
    ],
)
def test_they_are_followed_and_cost_no_steps(samples, seed, monkeypatch):
    flow, network = problem(samples, seed)
    unseen = np.all(np.asarray(flow.x @ network.weights[0].T) < 0, axis=1)
    assert np.sum(unseen) >= 5
    monkeypatch.setattr(_run.Run, "make_room", lambda run: pytest.fail("A wall."))
    exact = ravel_pytree(gflow.testing.follow(flow, network, LOG_T))[0]
    curve = solved(flow, network)
    assert away(curve, exact) <= 1e-4
    # As long as nothing else sees them all this is one flow in two clocks.
    monkeypatch.setattr(_seen, "LIGHT", -1.0)
    jax.clear_caches()
    try:
        blind = solved(flow, network)
    finally:
        jax.clear_caches()
    assert away(blind, exact) <= 1e-4
    assert attempts(curve) < 0.8 * attempts(blind)


@pytest.mark.parametrize("count", [1, 9])
def test_what_nothing_ever_sees_only_slows_time(count):
    """It does not count once it outweighs the others: all of q would be its."""
    random = np.random.default_rng(6)
    x = np.abs(random.normal(size=(9, 3)))
    first = np.abs(random.normal(size=(2, 3)))
    network = gflow.nn.MLP.from_weights([first, np.ones(2)], power=2)
    both = np.concatenate([x, -np.abs(random.normal(size=(count, 3)))])
    end = gflow.Until(log_margin_scale=60.0)
    alone, beside = (
        gflow.solve(
            gflow.GradientFlow(gflow.Logistic(), x, np.ones(len(x))), network,
            until=end, progress=False,
        )
        for x in (x, both)
    )  # fmt: skip
    slower = np.log(len(both) / len(x))
    for log_t in (0.0, 4.0, 1e3, 1e20):
        there, found = alone.at(log_t=log_t), beside.at(log_t=log_t + slower)
        one, other = (ravel_pytree(point.direction)[0] for point in (there, found))
        np.testing.assert_allclose(other, one, rtol=0, atol=3e-5)
    assert attempts(beside) <= 1.5 * attempts(alone) + 10


@pytest.mark.parametrize("sum_of_known", [1.0, 3e7, 1e-9])
def test_what_is_new_has_its_weight_in_proportion(sum_of_known):
    """Whatever the known weights are relative to, as to others where one is lost."""
    flow, network = problem(30, 1)
    field = Field(flow, network, gflow.clocks.Polar(), 3.0)
    point = np.asarray(ravel_pytree(network)[0])
    margins, jacobian = field.jacobian(point)
    every = np.ones(30, bool)
    whole = np.asarray(field.dual_weights(margins, 1.0, every))
    known = np.arange(30) % 4 > 0
    dual = sum_of_known * np.where(known, whole, 0.0) / np.sum(whole[known])
    found, gradient = _seen.counted(
        field, margins, jacobian, 1.0, every, dual, dual @ jacobian
    )
    close = {"rtol": 1e-12, "atol": 0}
    np.testing.assert_allclose(found / np.sum(found), whole, **close)
    np.testing.assert_allclose(found[known], dual[known], **close)
    np.testing.assert_allclose(gradient, found @ jacobian, rtol=1e-12)


def test_the_least_weight_is_below_the_least_that_there_is():
    """Beside one that is as heavy as any may be; else half of the flow would stop."""
    assert np.exp(-_dual_kinds.LOG_MOST) > _framing.LEAST
