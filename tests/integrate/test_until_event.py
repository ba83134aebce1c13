"""Solves that end where a function of a point passes zero."""

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curves import problem


NAMES = ("cubic", "relu2, exponential")


def until(name, event, log_t=20.0, **options):
    return gflow.solve(
        *problem(name),
        until=gflow.Until(event=event, log_t=log_t),
        progress=False,
        **options,
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_event_ends_a_solve_as_the_level_of_the_same_number_does(name):
    level = -3.7

    def fitted(point):
        return point.log_loss - level

    found = until(name, fitted)
    expected = gflow.solve(
        *problem(name), until=gflow.Until(log_loss=level), progress=False
    )
    assert found.stats["stopped_by"] == "event"
    assert found.result == gflow.RESULTS.successful
    assert abs(float(found.log_loss[-1]) - level) <= 1e-4
    assert abs(float(found.log_t[-1] - expected.log_t[-1])) <= 1e-4
    # All before is the curve without an event.
    whole = gflow.solve(*problem(name), until=gflow.Until(log_t=20.0), progress=False)
    kept = len(found) - 2  # the last steps are shorter
    assert np.array_equal(found.tau[:kept], whole.tau[:kept])


@pytest.mark.parametrize("rtol", [1e-5, 1e-8])
def test_the_event_is_met_to_the_tolerance(rtol):
    def margin(point):
        return jnp.min(point.margins) - 2.5

    found = until("cubic", margin, rtol=rtol)
    assert abs(float(margin(found[-1]))) <= 1e3 * rtol


def test_an_event_is_passed_from_either_side_and_zero_at_the_start_is_none():
    begins = float(gflow.point(*problem("cubic")).log_radius)
    down = until("cubic", lambda point: begins + 0.3 - point.log_radius)
    assert abs(float(down.log_radius[-1]) - begins - 0.3) <= 1e-5
    never = until("cubic", lambda point: point.log_radius - begins, log_t=2.0)
    assert never.stats["stopped_by"] == "log_t"


def test_levels_that_come_first_win_over_events():
    found = until("cubic", lambda point: point.log_loss + 50.0, log_t=1.0)
    assert found.stats["stopped_by"] == "log_t"
    assert float(found.log_t[-1]) == 1.0


def test_functions_of_the_host_are_events_too():
    def fitted(point):
        return np.asarray(point.log_loss) + 2.0

    def host(point):
        return float(point.log_loss) + 2.0

    one, other = until("cubic", fitted), until("cubic", host)
    assert abs(float(one.log_t[-1] - other.log_t[-1])) <= 1e-9


def test_an_event_on_kinks():
    x, y = gflow.data.separable(12, 4, shift=0.2, seed=3)
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    network = gflow.nn.MLP(4, (6,), key=jax.random.key(4))

    def event(point):
        return jnp.min(point.margins) - 1.5

    ends = gflow.Until(event=event, log_t=30.0)
    found = gflow.solve(flow, network, until=ends, progress=False)
    assert found.stats["stopped_by"] == "event"
    assert abs(float(event(found[-1]))) <= 1e-4


def test_events_that_are_no_numbers_are_refused():
    for wrong in (
        lambda point: point.margins,
        lambda point: point.margins[0] > 0,
        lambda point: None,
        lambda point: "a",
    ):
        with pytest.raises(ValueError, match=r"until\.event` must return one number"):
            until("cubic", wrong)
    with pytest.raises(ValueError, match=r"must return a finite number .* nan"):
        until("cubic", lambda point: point.log_radius * jnp.nan)
    with pytest.raises(ValueError, match="At the start log t is -inf"):
        until("cubic", lambda point: point.log_t - 1.0)
    with pytest.raises(ValueError, match="must be a function"):
        gflow.Until(event=3.0)


def test_a_solve_with_an_event_is_resumed_with_it(tmp_path):
    def event(point):
        return point.log_loss + 4.0

    whole = until("cubic", event)
    path = tmp_path / "run"
    until("cubic", event, max_steps=20, throw=False, checkpoint=path)
    with pytest.raises(ValueError, match="with its event once more"):
        gflow.resume(path, *problem("cubic"), progress=False)
    found = gflow.resume(
        path,
        *problem("cubic"),
        until=gflow.Until(event=event, log_t=20.0),
        max_steps=10_000,
        progress=False,
    )
    assert np.array_equal(found.tau, whole.tau)
    assert np.array_equal(found.log_t, whole.log_t)
