"""The last sample of a solve, cut at a level: all of it belongs to one point."""

import gflow
import jax
import numpy as np
import pytest


def recomputed(flow, point):
    """The log loss of a point from its own weights, of one margin."""
    scale = np.exp(point.degree * float(point.log_radius))
    margins = scale * np.asarray(flow.margins(point.direction))
    logs = np.asarray(flow.log_losses(margins))
    top = np.max(logs)
    return top + np.log(np.mean(np.exp(logs - top)))


@pytest.mark.parametrize(
    ("norm", "level"),
    [("linf", 10.0), ("l1", 60.0), ("spectral", 3.0)],
)
def test_loss_and_time_are_those_of_the_radius(norm, level):
    """Where the direction rests, steepest flows grow by e to 10 on a step."""
    x, y = gflow.data.separable(5, 3, shift=0.3, seed=1)
    flow = gflow.SteepestFlow(gflow.Exponential(), x, y, norm=norm)
    network = gflow.nn.DeepLinear.from_weights([np.array([0.3, -0.2, 0.1])])

    def solved(rtol=1e-6, **until):
        return gflow.solve(
            flow, network, until=gflow.Until(**until), rtol=rtol, progress=False
        )

    end = solved(log_radius=level)[-1]
    assert float(end.log_radius) == level
    np.testing.assert_allclose(end.log_loss, recomputed(flow, end), rtol=1e-9)
    again = solved(1e-9, log_t=float(end.log_t))[-1]
    np.testing.assert_allclose(again.log_radius, level, rtol=1e-6)
    fine = solved(log_radius=level).refined(7)
    own = np.array([recomputed(flow, point) for point in fine])
    np.testing.assert_allclose(fine.log_loss, own, rtol=1e-6)
    assert np.all(np.diff(fine.log_radius)[-7:] > 0)


def test_the_last_of_the_points_at_which_a_clock_stands_still_is_meant():
    x, y = gflow.data.separable(6, 3, shift=0.3, seed=2)
    network = gflow.nn.MLP(3, (4,), power=2, leak=-1.0, key=jax.random.key(2))
    curve = gflow.solve(
        gflow.GradientFlow(gflow.Exponential(), x, y), network,
        until=gflow.Until(log_margin_scale=200.0), clock=gflow.clocks.Loss(),
        progress=False,
    )  # fmt: skip
    tau = np.asarray(curve.tau)
    assert tau[-1] == tau[-2]  # else nothing is shown
    last = float(curve.at(tau=tau[-1]).log_radius[0])
    assert abs(last / float(curve.log_radius[-1]) - 1) < 1e-14
    places = [0, 5, int(np.argmax(tau == tau[-1])) - 1]
    found = curve.at(tau=tau[places]).log_radius
    np.testing.assert_allclose(found, np.asarray(curve.log_radius)[places], rtol=1e-14)


def test_regression_that_is_fitted_says_so():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 3))
    flow = gflow.GradientFlow(gflow.Square(), x, x @ np.array([1.0, -2.0, 0.5]))
    network = gflow.nn.DeepLinear(3, (2,), key=jax.random.key(0))
    until = gflow.Until(log_loss=-68.0)
    with pytest.raises(gflow.SolveError, match="All targets are fitted"):
        gflow.solve(flow, network, until=until, progress=False)


def test_an_exact_fit_has_no_loss():
    flow = gflow.GradientFlow(gflow.Square(), np.eye(2), np.array([2.0, 3.0]))
    network = gflow.nn.DeepLinear.from_weights([np.array([2.0, 3.0])])
    assert flow.log_loss(network) == -np.inf


def test_time_may_be_infinite_before_the_level():
    """Past log t = 1e308 it stands still, and the radius is met all the same."""
    flow = gflow.GradientFlow(
        gflow.Logistic(), np.array([[10.0, 0.0], [9.0, 3.0]]), np.ones(2)
    )
    network = gflow.nn.DeepLinear.from_weights([np.array([1.0, 0.5])])
    until = gflow.Until(log_radius=730.0)
    curve = gflow.solve(flow, network, until=until, progress=False)
    assert curve.result == gflow.RESULTS.successful
    assert curve.log_radius[-1] == 730.0
    assert np.all(np.diff(curve.log_radius) > 0)
    assert curve.log_t[-1] == np.inf
    assert not np.any(np.isnan(curve.log_t))
    assert not np.any(np.isnan(curve.log_loss))
