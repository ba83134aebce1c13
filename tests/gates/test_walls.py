"""Samples that squared ReLUs lose: units are held where they would see one again.

Narrow deep networks on labels at random lose some for ever.
"""

import equinox as eqx
import gflow
import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from curves import distance
from gflow import _walls
from gflow._integrate import _loop, _run
from gflow._solvers import _explicit
from lost_samples import LATE, apart, by_radau, late, problem, solved

from benchmarks import lost


@pytest.mark.parametrize("seed", [50, 51, 52, 53, 58])
def test_flows_that_lose_samples_are_those_of_another_solver(seed):
    flow, network, expected = late(seed)
    curve = solved(flow, network, rtol=1e-8, log_t=LATE)
    assert curve.result == gflow.RESULTS.successful
    assert apart(curve, expected) <= 1e-4  # some pass by saddles


@pytest.mark.parametrize("seed", range(4))
def test_what_is_lost_stays_lost_and_all_else_is_fitted(seed):
    flow, network = problem(seed)
    curve = solved(flow, network, log_margin_scale=200.0)
    assert curve.result == gflow.RESULTS.successful
    assert curve.stats["walls"] > 0
    margins = np.asarray(flow.margins(curve[-1].direction))
    lost = np.abs(margins) < 1e-12
    assert np.all(margins[~lost] > 1e-6)
    expected = np.log(np.sum(lost) * np.log(2) / len(margins))
    assert abs(float(curve.log_loss[-1]) - expected) <= 1e-9


@pytest.mark.parametrize("seed", [10, 18])
def test_the_loss_is_that_of_the_network(seed):
    """Where units are put back the loss is another than just before."""
    flow, network = lost.problem(seed)
    curve = gflow.solve(
        flow, network, until=gflow.Until(log_margin_scale=200.0), max_steps=1500,
        throw=False, progress=False,
    )  # fmt: skip
    assert curve.log_t[-1] > 1e6
    exact = [float(log_loss_of(flow, point.network)) for point in curve[::7]]
    np.testing.assert_allclose(curve.log_loss[::7], exact, rtol=1e-12, atol=0)
    inside = curve.refined(4).log_loss
    assert np.max(np.diff(inside)) <= 1e-9  # no flow raises it
    apart = np.diff(curve.log_t) > 1e-6  # where a time is that of one point
    some = 1 + np.flatnonzero(apart[:-1] & apart[1:])
    ends = curve.at(log_t=curve.log_t[some])
    np.testing.assert_allclose(ends.log_loss, curve.log_loss[some], rtol=1e-6, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("log_scale", [300.0, 600.0])
@pytest.mark.parametrize("seed", [3, 6, 9])
def test_the_loss_is_right_inside_of_steps_that_grow_a_hundredfold(seed, log_scale):
    """Also where units are put back, if only by the rounding of where they are."""
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(8, 20)), np.resize([1.0, -1.0], 8)
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    network = gflow.nn.MLP(20, (6, 6), power=2, key=jr.key(seed))
    curve = solved(flow, network, log_margin_scale=log_scale)
    assert np.max(np.diff(curve.log_radius)) > np.log(100)
    for path in (curve, curve.refined(4)):
        late = [point for point in path[::3] if point.log_radius > 5.0] + [path[-1]]
        margins = [jnp.min(flow.margins(point.direction)) for point in late]
        expected = np.log(margins) + [7 * point.log_radius for point in late]
        found = np.log([-point.log_loss for point in late])
        # Seven of the ten tolerances that dense output keeps to, by degree.
        np.testing.assert_allclose(found, expected, rtol=0, atol=7 * 10 * 1e-6)


@pytest.mark.parametrize("level", [-1.08, -1.0999])
def test_a_level_is_met_where_a_lost_sample_comes_back(level):
    flow, network = lost.problem(14)  # there the loss falls at once from -1.06 to -1.1
    curve = solved(flow, network, log_loss=level)
    assert curve.stats["stopped_by"] == "log_loss"
    assert float(curve.log_loss[-1]) == level


@pytest.mark.slow
@pytest.mark.parametrize("seed", [47, 52, 63, 69])
def test_a_wall_may_be_met_first_where_all_else_is_fitted(seed, monkeypatch):
    """The sample that comes to be seen pulls with all there is: no step is kept."""
    monkeypatch.setattr(lost, "SAMPLES", 3)
    flow, network = lost.problem(seed)
    margins = np.asarray(flow.margins(network))
    assert np.min(margins) == 0  # nothing sees that sample yet
    larger = (1e5 / np.max(margins)) ** (1 / 7)
    network = jax.tree.map(lambda w: larger * w, network)
    curve = solved(flow, network, log_margin_scale=100.0)
    assert curve.result == gflow.RESULTS.successful


log_loss_of = eqx.filter_jit(lambda flow, network: flow.log_loss(network))


@pytest.mark.parametrize("rtol", [1e-6, 5e-7])
def test_a_unit_in_balance_is_stiff(rtol):
    """Explicit steps would be as short as its balance is quick, for ever.

    It is thrown to where it sees nothing, and back: no rate is seen at the end.
    """
    flow, network = lost.problem(39)
    curve = solved(flow, network, rtol=rtol, log_t=LATE)
    assert curve.stats["steps"] + curve.stats["rejected"] <= 600  # of over 1,500
    assert apart(curve, by_radau(flow, network, LATE)) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("thrown", [1.2, 3.0])
def test_the_flow_is_the_same_wherever_stiffness_is_seen(thrown, monkeypatch):
    flow, network = lost.problem(39)
    before = solved(flow, network, log_t=LATE)
    monkeypatch.setattr(_explicit, "THROWN", thrown)
    jax.clear_caches()
    try:
        curve = solved(flow, network, log_t=LATE)
    finally:
        jax.clear_caches()
    assert not np.array_equal(curve.log_t, before.log_t)  # other steps were taken
    assert apart(curve, by_radau(flow, network, LATE)) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("seed", [60, 61])
def test_one_input_with_several_labels_is_held_by_what_all_of_them_pull(seed):
    flow, network = problem(seed, samples=8)
    x, y = np.array(flow.x), np.array(flow.y)
    x[1:4], y[:4] = x[0], (1.0, -1.0, -1.0, 1.0 - 2 * (seed % 2))
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    curve = solved(flow, network, rtol=1e-8, log_t=LATE)
    assert curve.result == gflow.RESULTS.successful
    assert apart(curve, by_radau(flow, network, LATE)) <= 1e-4


def three_classes(zeros=0):
    """A sample whose margins pull a unit both ways at one kink; units of size zero."""
    x = np.array([[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [-0.1, 0.0, 1.0]])
    first = [[3.0, -6.0, -1.0], [1.0, -0.51, -1.0], [-0.1, -6.0, 3.0]]
    second = [[1.1, -1.0, -1.1], [-1.1, -10.0, 1.1], [-1.1, -2.0, -1.1]]
    first += zeros * [[0.0] * 3]
    second = [row + zeros * [0.0] for row in second]
    network = gflow.nn.MLP.from_weights([np.array(first), np.array(second)], power=2)
    return gflow.GradientFlow(gflow.CrossEntropy(), x, np.array([0, 2, 1])), network


@pytest.mark.slow
@pytest.mark.parametrize("zeros", [0, 1])
def test_margins_that_pull_both_ways_pull_as_their_sum(zeros):
    flow, network = three_classes(zeros)
    curve = solved(flow, network, rtol=1e-8, log_t=21.0)
    assert curve.result == gflow.RESULTS.successful
    assert apart(curve, by_radau(flow, network, 21.0)) <= 1e-4


def refuse(run):
    raise AssertionError("Room for walls was made.")


def test_room_for_walls_is_made_where_some_are_met(monkeypatch):
    """It takes time to compile, and at each step."""
    flow, network, expected = late(50)
    monkeypatch.setattr(_run.Run, "make_room", refuse)
    x, y = gflow.data.digits((3, 8), samples=20)
    easy = gflow.nn.MLP(64, (5,), power=2, key=jr.key(1))
    curve = solved(gflow.GradientFlow(gflow.Logistic(), x, y), easy, log_t=LATE)
    assert curve.result == gflow.RESULTS.successful
    with pytest.raises(AssertionError, match="Room"):
        solved(flow, network, log_t=LATE)
    monkeypatch.setattr(_loop, "no_walls", _walls.with_room)  # from the start
    jax.clear_caches()
    try:
        curve = solved(flow, network, log_t=LATE)
    finally:
        jax.clear_caches()
    assert apart(curve, expected) <= 1e-4


def test_a_checkpoint_keeps_what_holds(tmp_path):
    flow, network, _ = late(50)
    until, path = gflow.Until(log_t=LATE), tmp_path / "walls"
    whole = gflow.solve(flow, network, until=until, progress=False)
    assert whole.stats["walls"] > 0
    half = 3 * whole.stats["steps"] // 4
    with pytest.raises(gflow.SolveError, match="max_steps"):
        gflow.solve(
            flow, network, until=until, max_steps=half, checkpoint=path, progress=False
        )
    later = gflow.resume(path, flow, network, max_steps=10**4, progress=False)
    np.testing.assert_array_equal(later.log_t, whole.log_t)
    np.testing.assert_array_equal(later.weights, whole.weights)


def test_distances_are_those_of_curves():
    """A sample that is lost leaves the curve whole: at any time, as by fewer steps."""
    flow, network = problem(2)
    curve = solved(flow, network, log_t=LATE)
    finer = gflow.solve(
        flow, network, until=gflow.Until(log_t=LATE), rtol=1e-8, progress=False
    )
    times = np.linspace(0.0, LATE, 40)
    gaps = distance(curve.at(log_t=times), finer.at(log_t=times))
    assert np.max(gaps) <= 1e-3
