"""Curves are sequences of points, and diagnostics functions of a point."""

import time

import equinox as eqx
import gflow
import gflow.plot
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from curves import curve, problem
from gflow import _curve, _mapping, _tree


HERE = ("log_radius", "log_t", "log_loss", "weights")


@pytest.fixture(scope="module")
def run():
    return curve("relu2", log_t=1e4)


@pytest.fixture(scope="module")
def descent():
    flow, network = problem("relu2")
    method = gflow.descent.LossScaledDescent(growth=1.0)
    return gflow.descent.descend(flow, network, method=method, gradients=3000)


@pytest.fixture(scope="module")
def kinked():
    x, y = gflow.data.separable(6, 3, shift=0.4, seed=4)
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    network = gflow.nn.MLP(3, (5,), key=jr.key(2))
    return gflow.solve(flow, network, until=gflow.Until(log_t=5.0), progress=False)


@pytest.mark.parametrize("name", ["run", "descent", "kinked"])
def test_a_curve_is_a_sequence_of_points(name, request):
    whole = request.getfixturevalue(name)
    points = list(whole)
    assert len(points) == len(whole) == len(whole.log_t) > 10
    for i in (0, 3, -1, -len(whole)):
        for field in HERE:
            assert np.array_equal(getattr(whole[i], field), getattr(whole, field)[i])
        assert eqx.tree_equal(whole[i].direction, points[i].direction)
        np.testing.assert_allclose(whole[i].margins, whole.margins[i], rtol=1e-12)
        assert np.array_equal(whole[i].gates, np.asarray(whole.gates)[i])
    for i in (len(whole), -len(whole) - 1):
        with pytest.raises(IndexError, match=f"has {len(whole)} points"):
            whole[i]
    part = whole[3:9:2]
    assert type(part) is type(whole)
    assert len(part) == 3
    assert np.array_equal(part.log_t, np.asarray(whole.log_t)[3:9:2])
    assert np.array_equal(part.gates, np.asarray(whole.gates)[3:9:2])
    assert part[1].log_loss == whole[5].log_loss
    assert len(whole[:0]) == 0


def test_all_points_of_a_curve_are_one_program(descent):
    before = _curve._entries._cache_size()
    assert len(list(descent)) > 100
    assert descent[7].log_t < descent[8].log_t
    assert _curve._entries._cache_size() <= before + 1


@pytest.mark.parametrize("name", ["run", "descent", "kinked"])
def test_a_point_is_what_its_network_says(name, request):
    whole = request.getfixturevalue(name)
    flow = whole.flow
    for i in (0, len(whole) // 2):
        here = whole[i]
        assert _tree.norm(here.direction) == pytest.approx(1.0, rel=1e-14)
        radius = np.exp(float(here.log_radius))
        assert _tree.norm(here.network) == pytest.approx(radius)
        np.testing.assert_allclose(here.margins, flow.margins(here.network), rtol=1e-12)
        log_loss = float(flow.log_loss(here.network))
        assert here.log_loss == pytest.approx(log_loss, rel=1e-9)
        again = gflow.point(flow, here.network)
        assert again.degree == here.degree
        np.testing.assert_allclose(again.weights, here.weights, rtol=1e-4, atol=1e-9)
        assert np.isnan(again.log_t)
        # Gates that are slid along count as off, and lie to rounding on either side.
        other = np.sum(np.asarray(again.gates) != np.asarray(here.gates))
        assert other <= 0.1 * again.gates.size


def test_networks_without_a_degree_and_regression_are_points_too():
    flow, _ = problem("relu2")
    network = eqx.nn.MLP(10, "scalar", 4, 1, activation=jnp.tanh, key=jr.key(0))
    here = gflow.point(flow, network)
    assert here.degree is None
    np.testing.assert_allclose(here.margins, flow.margins(network), rtol=1e-14)
    square = gflow.GradientFlow(gflow.Square(), flow.x, flow.y)
    errors = gflow.point(square, network)
    np.testing.assert_allclose(errors.weights, -square.margins(network), rtol=1e-14)
    for diagnostic, point, message in (
        (gflow.margins.normalized, here, "must be positively homogeneous"),
        (
            gflow.margins.smoothed,
            errors,
            "must classify here, but is one of regression",
        ),
        (gflow.kkt.residual, here, "its `degree` is None"),
        (gflow.kkt.min_norm_subgradient, errors, "must classify"),
        (gflow.kernels.tangent, here, "must be positively homogeneous"),
    ):
        with pytest.raises(ValueError, match=message):
            diagnostic(point)


def test_map_is_a_loop_over_points(run):
    def diagnostic(point):
        return gflow.margins.normalized(point), {"w": point.network, "n": 3}

    found = run.map(diagnostic)
    assert found[1]["w"].power == 2
    assert np.array_equal(found[1]["n"], np.full(len(run), 3))
    for i in (0, 7, -1):
        exact = float(gflow.margins.normalized(run[i]))
        assert found[0][i] == pytest.approx(exact, rel=1e-13)
        one = jax.tree.leaves(run[i].network)[0]
        np.testing.assert_allclose(
            jax.tree.leaves(found[1]["w"])[0][i], one, rtol=1e-14
        )
    shifted = run.map(lambda point, by: point.log_t + by, np.arange(len(run)))
    assert np.array_equal(shifted, run.log_t + np.arange(len(run)))


def test_map_traces_a_function_once_whatever_the_number_of_points(run):
    traced = []

    def diagnostic(point):
        traced.append(point)
        return point.log_loss

    for _ in range(3):
        assert np.array_equal(run.map(diagnostic), run.log_loss)
    assert len(traced) == 1
    most = 1 << (len(run).bit_length() - 1)  # that many have a program of their own
    for end in (len(run) - 1, most + 1, most + 2):
        assert np.array_equal(run[:end].map(diagnostic), run.log_loss[:end])
    assert len(traced) == 1
    for end in (0, 1, _mapping.FEWEST):
        assert np.array_equal(run[:end].map(diagnostic), run.log_loss[:end])
    assert len(traced) == 4


@pytest.mark.parametrize("rows", [(1, 2**26), (200, 2**26), (8, 300)])
def test_however_many_points_go_at_once_each_comes_back(run, monkeypatch, rows):
    for name, value in zip(("FEWEST", "BYTES"), rows, strict=True):
        monkeypatch.setattr(_mapping, name, value)
    keys = jax.random.split(jax.random.key(0), len(run))

    def diagnostic(point, key, label):
        return point.network, point.weights, jax.random.uniform(key) + label

    labels = np.arange(len(run), dtype=np.int32)
    network, weights, drawn = run.map(diagnostic, keys, labels)
    for one, other in zip(*map(jax.tree.leaves, (network, run.network)), strict=True):
        assert np.allclose(one, other, rtol=1e-14, atol=0.0)
    assert np.array_equal(weights, run.weights)
    assert np.allclose(drawn, jax.vmap(jax.random.uniform)(keys) + labels, rtol=1e-15)


def test_map_works_on_a_curve_that_is_traced(run):
    @eqx.filter_jit
    def last(curve):
        return curve.map(gflow.margins.normalized)[-1]

    expected = float(run.map(gflow.margins.normalized)[-1])
    assert float(last(run)) == pytest.approx(expected, rel=1e-12)


def test_keys_come_and_go(run):
    keys = jax.random.split(jax.random.key(0), len(run))
    split = run.map(lambda point, key: jax.random.split(key)[0], keys)
    expected = jax.vmap(lambda key: jax.random.split(key)[0])(keys)
    assert np.array_equal(*map(jax.random.key_data, (split, expected)))
    made = run.map(lambda point: jax.random.key(0))
    assert made.shape == (len(run),)
    none = run[:0].map(lambda point, key: jax.random.normal(key), keys[:0])
    assert none.shape == (0,)


def test_what_is_mapped_is_differentiated_without_a_loop_on_the_host(run):
    called = []

    def total(factor):
        def diagnostic(point):
            called.append(point)
            return point.log_radius * factor

        return jnp.sum(run.map(diagnostic))

    expected = float(np.sum(run.log_radius))
    for differentiate in (jax.grad, jax.jacfwd):
        called.clear()
        assert float(differentiate(total)(2.0)) == pytest.approx(expected)
        assert len(called) <= 2
    bound = jax.tree_util.Partial(lambda factor, point: point.log_radius * factor)

    def by_partial(factor):
        fn = jax.tree_util.Partial(bound.func, factor)
        return jnp.sum(run.map(fn))

    assert float(jax.grad(by_partial)(2.0)) == pytest.approx(expected)


def test_map_refuses_numbers_in_place_of_arrays(run):
    for number in (3.0, [1.0] * len(run)):
        with pytest.raises(ValueError, match="`arrays` must be arrays with an entry"):
            run.map(lambda point, by: by, number)


def test_map_refuses_arrays_of_another_length(run):
    with pytest.raises(ValueError, match="`arrays` must have one entry for each point"):
        run.map(lambda point, by: by, np.arange(len(run) - 1))


def test_what_cannot_be_traced_is_called_point_by_point(run):
    def on_the_host(point):
        return float(np.linalg.norm(np.asarray(point.weights)))

    found = run.map(on_the_host)
    np.testing.assert_allclose(found, np.linalg.norm(run.weights, axis=1), rtol=1e-14)

    def wrong(point):
        return point.no_such_thing

    with pytest.raises(AttributeError, match="no_such_thing"):
        run.map(wrong)


def test_a_second_map_of_the_toy_takes_milliseconds(run):
    # As a ratio to a first call, which compiles: no absolute time.
    def diagnostic(point):
        return gflow.margins.smoothed(point)

    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        jax.block_until_ready(run.map(diagnostic))
        seconds.append(time.perf_counter() - began)
    assert min(seconds[1:]) < seconds[0] / 10


def test_everything_that_reads_a_trajectory_reads_a_descent(run, descent):
    assert descent.degree == run.degree
    late = descent[-20:]
    margins = late.map(gflow.margins.smoothed)
    assert margins[-1] > margins[0] > 0
    assert gflow.paths.length(descent)[-1] > 0.1
    assert np.all(np.isfinite(late.map(gflow.kkt.residual).stationarity))
    assert gflow.limit(descent).verdict == "not yet"
    ax = gflow.plot.kkt_residuals(descent, clock="tau")
    assert len(ax.lines[0].get_xdata()) == len(descent)
    assert gflow.plot.neurons(descent).lines
    text = repr(descent)
    assert "3000 gradients" in text
    assert len(text.splitlines()) <= 12


def test_a_long_descent_is_certified():
    # One layer, where descent comes close: the limit is the hard margin's.
    x, y = gflow.data.separable(8, 3, shift=0.5, seed=1)
    flow = gflow.GradientFlow(gflow.Exponential(), x, y)
    network = gflow.nn.DeepLinear(3, (), key=jr.key(0))
    method = gflow.descent.LossScaledDescent(growth=1.0)
    far = gflow.descent.descend(flow, network, method=method, gradients=30_000)
    end = gflow.limit(far)
    best = gflow.reference.hard_margin(x, y)
    assert end.verdict == "local maximum"
    assert end.margin == pytest.approx(best.margin, rel=1e-12)


def test_reprs_are_read_at_a_glance(run, kinked):
    for whole in (run, kinked):
        text = repr(whole)
        assert len(text.splitlines()) <= 14
        assert all(len(line) <= 88 for line in text.splitlines())
        assert "successful, at log_t" in text
    assert "degree 3, 110 weights" in repr(run)
    assert "slid along" in repr(kinked)
    assert "degree 3" in repr(run[-1])
    assert len(repr(gflow.limit(run)).splitlines()) <= 16
    assert "max_steps" in str(gflow.RESULTS.out_of_steps)
    assert repr(gflow.RESULTS.successful) == "RESULTS.successful"
