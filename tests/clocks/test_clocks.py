"""One trajectory, whatever the clock; and networks that have no polar coordinates."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from curves import directions, problem
from gflow.clocks import ArcLength, LogTime, Loss, Polar, Time
from jax.flatten_util import ravel_pytree
from tiers import but_slow


CLOCKS = {Loss(): 1e3, ArcLength(): 1e3, LogTime(): 1e3, Time(): 20.0}
RTOL = 1e-7


@pytest.mark.parametrize(("clock", "end"), CLOCKS.items())
@pytest.mark.parametrize("name", but_slow(["cubic", "linear, exponential"], "cubic"))
def test_one_trajectory_whatever_the_clock(name, clock, end):
    flow, network = problem(name)
    until = gflow.Until(log_t=end)
    polar, other = (
        gflow.solve(flow, network, until=until, rtol=RTOL, clock=c, progress=False)
        for c in (Polar(), clock)
    )
    times = [-2.0, 1.0, 4.0, 15.0, end]
    a, b = polar.at(log_t=times), other.at(log_t=times)
    apart = np.linalg.norm(directions(a) - directions(b), axis=1)
    # Two curves, each within tens of its tolerance.
    assert np.max(apart) <= 40 * RTOL
    assert np.max(np.abs(a.log_radius - b.log_radius)) <= 40 * RTOL
    np.testing.assert_allclose(other.weights.sum(axis=1), 1, rtol=1e-12)
    assert other.degree == network.degree


def test_the_clock_is_the_axis_of_the_trajectory():
    flow, network = problem("cubic")

    def solved(clock):
        until = gflow.Until(log_t=9.0)
        return gflow.solve(flow, network, until=until, clock=clock, progress=False)

    time, log_time = solved(Time()), solved(LogTime())
    np.testing.assert_allclose(np.log(time.tau[1:]), time.log_t[1:], atol=1e-11)
    expected = np.log(np.expm1(log_time.tau[1:]))
    np.testing.assert_allclose(expected, log_time.log_t[1:], atol=1e-11)
    arc = solved(ArcLength())
    points = directions(arc) * np.exp(arc.log_radius)[:, None]
    chords = np.linalg.norm(np.diff(points, axis=0), axis=1)
    lengths = np.diff(arc.tau)
    assert np.all(chords <= lengths * (1 + 1e-6))
    assert np.all(chords >= 0.9 * lengths)


class Biased(eqx.Module):
    """Without a degree."""

    w: jax.Array
    b: jax.Array

    def __call__(self, x):
        return jnp.sum(jax.nn.softplus(self.w @ x + self.b)) - 2.0


BIASED = Biased(jr.normal(jr.key(3), (3, 10)), jnp.zeros(3))


@pytest.mark.parametrize(
    ("make", "until"),
    [
        (lambda: problem("cubic"), gflow.Until(log_margin_scale=60.0)),
        (lambda: problem("linear, exponential"), gflow.Until(log_t=1e12)),
        (lambda: (problem("cubic")[0], BIASED), gflow.Until(log_t=40.0)),
    ],
    ids=["cubic", "linear", "biased"],
)
def test_arc_length_is_that_of_the_chords_however_late(make, until):
    """Late, what follows from margins has no digits: R times rounding is large."""
    flow, network = make()
    clock, rtol = ArcLength(), 1e-6
    curve = gflow.solve(
        flow, network, until=until, clock=clock, rtol=rtol, progress=False
    )
    fine = curve.refined(32)
    points = directions(fine) * np.exp(np.asarray(fine.log_radius))[:, None]
    chords = np.sum(np.linalg.norm(np.diff(points, axis=0), axis=1))
    # Chords are shorter by the square of what a 32nd of a step turns.
    assert abs(chords / float(curve.tau[-1]) - 1) < 1e-4


def test_two_weights_and_one_sample_move_as_in_theory():
    # f = w1 w2: cos(2 phi) r^2 is conserved, under every clock.
    class Product(eqx.Module):
        w: jax.Array

        def __call__(self, x):
            return self.w[0] * self.w[1] * x[0]

    # The second sample says the same as the first.
    x, y = np.array([[1.0], [-1.0]]), np.array([1.0, -1.0])
    flow = gflow.GradientFlow(gflow.Exponential(), x, y)
    network = Product(jnp.array([1.0, 0.4]))
    for clock in (Polar(), *CLOCKS):
        until = gflow.Until(log_t=8.0)
        curve = gflow.solve(
            flow, network, until=until, rtol=1e-9, clock=clock, progress=False
        )
        w = np.asarray(curve.network.w)
        drift = np.abs(w[:, 0] ** 2 - w[:, 1] ** 2 - 0.84) / np.sum(w**2, axis=1)
        assert np.max(drift[:-1]) <= 2e-8
        assert drift[-1] <= 1e-7  # the last sample comes from the dense output


def test_networks_with_biases_go_far():
    key = jr.key(0)
    flow, _ = problem("relu2")
    network = eqx.nn.MLP(10, "scalar", 6, 1, activation=jax.nn.softplus, key=key)
    curve = gflow.solve(flow, network, until=gflow.Until(log_t=1e6), progress=False)
    assert curve.result == gflow.RESULTS.successful
    assert curve.degree is None
    assert curve.log_t[-1] == 1e6
    assert np.all(np.diff(curve.log_loss) < 0)
    assert np.all(curve.margins[-1] > 0)
    # An independent solver on plain gradients, as far as it goes.
    until = gflow.Until(log_t=3.0)
    curve = gflow.solve(flow, network, until=until, rtol=1e-9, progress=False)
    exact = gflow.testing.follow(flow, network, 3.0, rtol=1e-11, method="DOP853")
    found, expected = (
        ravel_pytree(eqx.filter(each, eqx.is_inexact_array))[0]
        for each in (curve[-1].network, exact)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("clock", "message"),
    [
        (Polar(), r"`clock` must not be Polar\(\) for this network, .*homogeneous"),
        ("log t", r"`clock` must be one of `gflow.clocks`, .*, but is 'log t'"),
        (LogTime, r"`clock` must be one of `gflow.clocks`, .* make an instance"),
    ],
)
def test_clocks_that_cannot_work(clock, message):
    flow, _ = problem("relu2")
    network = eqx.nn.MLP(10, "scalar", 3, 1, key=jr.key(0))
    with pytest.raises(ValueError, match=message):
        gflow.solve(
            flow, network, until=gflow.Until(log_t=1.0), clock=clock, progress=False
        )


def test_a_margin_scale_needs_a_degree():
    flow, _ = problem("relu2")
    network = eqx.nn.MLP(10, "scalar", 3, 1, jnp.tanh, key=jr.key(0))
    with pytest.raises(ValueError, match=r"`until\.log_margin_scale` must not"):
        gflow.solve(
            flow, network, until=gflow.Until(log_margin_scale=9.0), progress=False
        )


@pytest.mark.parametrize("clock", [Polar(), Loss(), ArcLength()])
def test_the_square_loss_needs_a_clock_of_time(clock):
    flow = gflow.GradientFlow(gflow.Square(), np.eye(3), np.ones(3))
    network = gflow.nn.DeepLinear(3, (2,), key=jr.key(0))
    with pytest.raises(
        ValueError, match=r"`clock` must be a function of time for the square loss"
    ):
        gflow.solve(
            flow, network, until=gflow.Until(log_t=1.0), clock=clock, progress=False
        )
