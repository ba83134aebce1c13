"""What a solve keeps in place of its points."""

import gflow
import jax.numpy as jnp
import numpy as np
import pytest
from curves import problem


TIMES = np.array([-2.0, 0.5, 3.0, 9.5])
END = gflow.Until(log_t=10.0)


def solve(save=None, **options):
    options = {"until": END, "progress": False, "save": save} | options
    return gflow.solve(*problem("cubic"), **options)


def both(point):
    return {"margin": gflow.margins.normalized(point), "all": point.margins}


@pytest.fixture(scope="module")
def whole():
    return solve()


def test_observables_at_times_are_those_of_the_dense_output(whole):
    found = solve(gflow.SaveAt(log_t=TIMES, observables=both))
    expected = whole.at(log_t=TIMES)
    assert np.array_equal(found.observables.log_t, TIMES)
    radius = found.observables.log_radius
    np.testing.assert_allclose(radius, expected.log_radius, rtol=1e-14)
    for name, value in expected.map(both).items():
        np.testing.assert_allclose(found.observables.values[name], value, rtol=1e-12)


def test_the_trajectory_has_its_two_ends(whole):
    found = solve(gflow.SaveAt(log_t=TIMES, observables=both))
    assert len(found) == 2
    assert np.array_equal(found.log_t, whole.log_t[[0, -1]])
    assert np.array_equal(found[-1].margins, whole[-1].margins)
    assert found.steps is None


def test_without_times_each_step_is_observed(whole):
    found = solve(gflow.SaveAt(observables=gflow.margins.normalized)).observables
    assert np.array_equal(found.tau, whole.tau)
    assert np.array_equal(found.log_loss, whole.log_loss)
    expected = whole.map(gflow.margins.normalized)
    np.testing.assert_allclose(found.values, expected, rtol=1e-12)


def test_functions_of_the_host_may_observe(whole):
    def radius(point):
        return np.linalg.norm(np.asarray(point.margins))

    found = solve(gflow.SaveAt(tau=[0.0, float(whole.tau[-1])], observables=radius))
    expected = [radius(whole[0]), radius(whole[-1])]
    np.testing.assert_allclose(found.observables.values, expected, rtol=1e-10)


def test_what_is_not_reached_is_not_observed():
    found = solve(
        gflow.SaveAt(log_t=TIMES, observables=both),
        until=gflow.Until(log_t=10.0, log_loss=-2.0),
    )
    reached = np.sum(float(found.log_t[-1]) >= TIMES)
    assert 0 < len(found.observables) == reached < len(TIMES)


def test_observables_are_saved_and_read_back(tmp_path):
    for fn in (both, gflow.margins.normalized):
        found = solve(gflow.SaveAt(log_t=TIMES, observables=fn))
        found.save(tmp_path / "run.nc")
        back = gflow.load(tmp_path / "run.nc", *problem("cubic")).observables
        assert repr(back) == repr(found.observables)
        assert np.array_equal(back.log_t, TIMES)
        if fn is both:
            assert np.array_equal(back.values["all"], found.observables.values["all"])
        else:
            assert np.array_equal(back.values, found.observables.values)


def test_a_solve_with_observables_is_resumed_with_them(tmp_path):
    save = gflow.SaveAt(log_t=TIMES, observables=both)
    whole, path = solve(save), tmp_path / "run"
    solve(save, max_steps=25, throw=False, checkpoint=path)
    flow, network = problem("cubic")
    with pytest.raises(ValueError, match="with its observables"):
        gflow.resume(path, flow, network, progress=False)
    other = gflow.SaveAt(log_t=TIMES + 0.1, observables=both)
    with pytest.raises(ValueError, match="must be that of the solve"):
        gflow.resume(path, flow, network, save=other, progress=False)
    found = gflow.resume(
        path, flow, network, save=save, max_steps=10_000, progress=False
    )
    assert np.array_equal(found.observables.log_t, whole.observables.log_t)
    for name, value in whole.observables.values.items():
        assert np.array_equal(found.observables.values[name], value)


def test_what_is_no_array_is_refused():
    with pytest.raises(ValueError, match=r"observables` must return an array"):
        solve(gflow.SaveAt(observables=lambda point: (point.log_t, point.log_loss)))
    with pytest.raises(ValueError, match="must be a function"):
        gflow.SaveAt(observables=jnp.ones(3))
    with pytest.raises(ValueError, match="needs one of"):
        gflow.SaveAt()
