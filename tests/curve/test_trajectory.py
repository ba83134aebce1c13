"""The curve between and at its samples: `at`, `map` and `SaveAt`."""

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from curves import curve, directions, distance, margins, problem


LOG_T = np.array([-3.0, 0.5, 3.0, 50.0, 1e4])


def close(one, other, tolerance):
    fields = [
        (np.asarray(t.log_radius), np.asarray(t.log_loss), np.asarray(t.tau))
        for t in (one, other)
    ]
    return distance(one, other).max() <= tolerance and all(
        np.allclose(a, b, rtol=tolerance, atol=tolerance)
        for a, b in zip(*fields, strict=True)
    )


@pytest.mark.parametrize("name", ["tau", "log_t"])
def test_the_ends_of_steps_are_met_exactly(name):
    trajectory = curve("relu2")
    times = getattr(trajectory, name)[1:-1]
    found = trajectory.at(**{name: times})
    assert np.array_equal(getattr(found, name), times)
    assert np.max(np.abs(found.log_radius - trajectory.log_radius[1:-1])) <= 1e-13
    assert np.max(np.abs(directions(found) - directions(trajectory)[1:-1])) <= 1e-13
    assert np.max(np.abs(found.weights - trajectory.weights[1:-1])) <= 1e-13


def test_the_start_is_on_the_curve():
    trajectory = curve("relu2")
    found = trajectory.at(tau=0.0)
    assert found.log_t[0] == -np.inf
    assert np.allclose(directions(found), directions(trajectory)[:1], atol=1e-15)
    assert found.log_loss[0] == pytest.approx(float(trajectory.log_loss[0]))


@pytest.mark.parametrize("name", ["relu2", "cubic", "linear, exponential"])
def test_between_steps_the_error_is_that_of_the_tolerance(name):
    # Eight points a step, against steps a hundred times as accurate.
    trajectory, better = curve(name), curve(name, 1e-8)
    tau = np.asarray(trajectory.tau)
    tau = tau[np.asarray(trajectory.log_t) <= 50]
    taus = (tau[:-1, None] + np.diff(tau)[:, None] * np.arange(0.5, 8) / 8).ravel()
    log_t = np.asarray(trajectory.at(tau=taus).log_t)
    error = distance(trajectory.at(log_t=log_t), better.at(log_t=log_t))
    assert np.max(error) <= 20 * 1e-6


@pytest.mark.parametrize("name", ["relu2", "linear, exponential"])
def test_a_time_is_found_where_it_was_read_off(name):
    # To the end, where log t multiplies on every step.
    trajectory = curve(name)
    tau = np.asarray(trajectory.tau)
    share = np.array([1e-3, 0.1, 0.5, 0.77, 0.999])
    there = trajectory.at(tau=(tau[:-1, None] + np.diff(tau)[:, None] * share).ravel())
    back = trajectory.at(log_t=there.log_t)
    assert np.max(np.abs(back.log_radius - there.log_radius)) <= 1e-12
    assert np.max(distance(back, there)) <= 1e-12


@pytest.mark.parametrize("name", ["relu2", "linear, exponential"])
def test_between_steps_the_dual_weights_are_those_of_the_point(name):
    trajectory, (flow, _) = curve(name), problem(name)
    here = trajectory.refined(7)
    assert np.array_equal(here.log_t[::7], trajectory.log_t)
    assert np.all(here.weights >= 0)
    np.testing.assert_allclose(np.sum(here.weights, axis=1), 1, rtol=1e-13)
    # Where the margins have digits enough for their exponentials.
    soon = np.asarray(here.degree * here.log_radius) < np.log(1e4)
    scaled = margins(flow, jax.tree.map(lambda a: a[soon], here.network))
    log_q = np.asarray(jax.vmap(flow.log_weights)(jnp.asarray(scaled)))
    expected = scipy.special.softmax(log_q, axis=1)
    assert np.max(np.abs(here.weights[soon] - expected)) <= 1e-3


def test_times_in_any_order_and_one_alone():
    trajectory = curve("relu2")
    some = trajectory.at(log_t=[3.0, -3.0, 3.0])
    assert np.array_equal(some.log_t, [3.0, -3.0, 3.0])
    assert np.array_equal(directions(some)[0], directions(some)[2])
    assert close(trajectory.at(log_t=-3.0), trajectory.at(log_t=[-3.0]), 0.0)


def test_both_clocks_name_one_point():
    trajectory = curve("relu2")
    by_log_t = trajectory.at(log_t=LOG_T)
    by_tau = trajectory.at(tau=by_log_t.tau)
    assert np.allclose(by_tau.log_t, LOG_T, rtol=1e-10)
    assert close(by_tau, by_log_t, 1e-10)


@pytest.mark.parametrize("times", [{"log_t": LOG_T}, {"tau": (0.25, 1.0, 3.0)}])
def test_save_keeps_what_at_would_find(times):
    trajectory = curve("relu2")
    saved = gflow.solve(
        *problem("relu2"),
        until=gflow.Until(log_t=1e5),
        save=gflow.SaveAt(**times),
        progress=False,
    )
    expected = trajectory.at(**times)
    assert close(saved, expected, 1e-12)
    assert np.allclose(saved.log_t, expected.log_t, rtol=1e-12)
    assert np.max(np.abs(saved.weights - expected.weights)) <= 1e-12
    assert saved.steps is None


def test_parts_of_steps_are_counted():
    for parts in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="`parts` must be a positive integer"):
            curve("relu2").refined(parts)
    with pytest.raises(ValueError, match="`refined` needs the dense output"):
        curve("relu2").at(tau=0.5).refined(2)


@pytest.mark.parametrize("end", [-2.0, 1.0, 3.3, 47.0, 900.0, 1e12])
def test_save_keeps_the_end_wherever_it_is(end):
    until = gflow.Until(log_t=end)
    whole = gflow.solve(*problem("relu2"), until=until, progress=False)
    saved = gflow.solve(
        *problem("relu2"),
        until=until,
        save=gflow.SaveAt(log_t=np.array([-3.0, end])),
        progress=False,
    )
    assert np.array_equal(saved.log_t, [-3.0, end])
    assert saved.log_radius[-1] == pytest.approx(whole.log_radius[-1], rel=1e-12)
    assert distance(saved, whole.at(log_t=[-3.0, end])).max() <= 1e-12


def test_save_keeps_the_start():
    saved = gflow.solve(
        *problem("relu2"),
        until=gflow.Until(log_t=1.0),
        save=gflow.SaveAt(tau=np.array([0.0, 0.25])),
        progress=False,
    )
    assert np.array_equal(saved.tau, [0.0, 0.25])


def test_map_takes_a_network_and_one_entry_of_each_array():
    flow, _ = problem("relu2")
    trajectory = curve("relu2").at(log_t=LOG_T)
    found = trajectory.map(
        lambda point, q: (point.log_radius, q @ flow.margins(point.direction)),
        jnp.asarray(trajectory.weights),
    )
    expected = np.sum(
        trajectory.weights * np.asarray(margins(flow, trajectory.direction)), axis=1
    )
    assert np.array_equal(found[0], trajectory.log_radius)
    assert np.allclose(found[1], expected, rtol=1e-13)


def test_direction_is_a_network_with_a_time_axis():
    _, network = problem("relu2")
    trajectory = curve("relu2").at(log_t=LOG_T)
    assert isinstance(trajectory.direction, type(network))
    shapes = [leaf.shape for leaf in jax.tree.leaves(trajectory.direction)]
    assert shapes == [(5, 10, 10), (5, 10)]


def test_the_start_has_a_time_too():
    whole = curve("relu2")
    start = whole.at(log_t=[-np.inf, 0.0])
    assert np.array_equal(start.log_t, [-np.inf, 0.0])
    assert start.tau[0] == 0
    assert abs(start.log_loss[0] - whole.log_loss[0]) < 1e-14  # summed otherwise
    for one, other in zip(
        jax.tree.leaves(start[0].direction),
        jax.tree.leaves(whole[0].direction),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"log_t": 2e21}, r"`log_t` must lie on the curve, from -inf to 1e\+21, but"),
        ({"log_t": [1.0, np.nan]}, r"`log_t` must lie on the curve, .* holds \[nan\]"),
        ({"tau": -1.0}, r"`tau` must lie on the curve, from 0 to .* holds \[-1\.0\]"),
        ({}, r"`at` needs one of `log_t` and `tau`"),
        ({"tau": 1.0, "log_t": 1.0}, r"`at` needs one of `log_t` and `tau`"),
    ],
)
def test_times_off_the_curve_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        curve("relu2").at(**arguments)


def test_without_dense_output_there_is_nothing_between():
    with pytest.raises(ValueError, match="`at` needs the dense output"):
        curve("relu2").at(log_t=LOG_T).at(log_t=0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "`SaveAt` needs one of `log_t` and `tau`"),
        ({"log_t": [1.0], "tau": [1.0]}, "`SaveAt` needs one of `log_t` and `tau`"),
        ({"log_t": [2.0, 1.0]}, r"`SaveAt\.log_t` must be a vector of increasing"),
        ({"tau": 1.0}, r"`SaveAt\.tau` must be a vector of increasing"),
        ({"tau": [np.nan]}, r"`SaveAt\.tau` must be a vector of increasing"),
    ],
)
def test_times_to_save_must_increase(arguments, message):
    with pytest.raises(ValueError, match=message):
        gflow.SaveAt(**arguments)
