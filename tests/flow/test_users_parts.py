"""A clock, a loss, a diagnostic and a plot as a user writes them, by public names."""

from typing import ClassVar

import gflow
import gflow.plot
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curves import directions
from matplotlib.figure import Figure


class Growth(gflow.clocks.AbstractRateClock):
    r"""Counts e-foldings of 1 / loss, with $\mathrm d\tau = \mathrm dt$ at first."""

    unit: float = 1.0

    def log_rate(self, speeds):
        # |dL| = |grad L|^2 dt = (|dw| / dt) |dw|, and d tau = |dL| / L.
        fall = 2 * speeds.log_length - speeds.log_time
        return fall - speeds.log_loss - jnp.log(self.unit)


class Decades(gflow.clocks.AbstractTimeClock):
    """log10(1 + t)."""

    def tau_of(self, log_t):
        xp = log_t.__array_namespace__()
        return xp.logaddexp(0.0, log_t) / np.log(10)

    def log_t_at(self, tau):
        with np.errstate(divide="ignore"):
            return np.log(10) * tau + np.log(-np.expm1(-np.log(10) * tau))


class Hinge(gflow.AbstractMarginLoss):
    r"""$\log(1 + e^{-2z}) / 2$: a logistic loss of twice the temperature."""

    labels: ClassVar = ("signs",)

    @property
    def tail(self):
        return 1.0

    def log_loss(self, margin):
        return jnp.log(jnp.logaddexp(0.0, -2 * margin) / 2)

    def log_weight(self, margin):
        return -jnp.logaddexp(0.0, 2 * margin)

    def weight_decay(self, margin):
        return 2 * jax.nn.sigmoid(2 * margin)

    def margin_of(self, log_loss):
        return -jnp.log(jnp.expm1(2 * jnp.exp(log_loss))) / 2


def effective_samples(point):
    """How many samples pull: the exponential of the entropy of q."""
    return jnp.exp(jnp.sum(jax.scipy.special.entr(point.weights)))


def entropy_plot(curve):
    """The number of samples that pull, over time."""
    ax = Figure().add_subplot()
    values = curve.map(effective_samples)
    return gflow.plot.over_time(curve, values, label="samples that pull", ax=ax)


def solved(clock=None, loss=None, scale=1.0):
    flow, network = gflow.problems.relu2(gflow.Logistic() if loss is None else loss)
    if scale != 1.0:
        network = jax.tree.map(lambda leaf: scale * leaf, network)
    until = gflow.Until(log_t=9.0)
    options = {"until": until, "rtol": 1e-8, "progress": False}
    return gflow.solve(flow, network, clock=clock, **options)


@pytest.mark.parametrize("unit", [1.0, 20.0])
def test_a_clock_of_ones_own_counts_what_it_says(unit):
    plain, run = solved(), solved(Growth(unit))
    times = [-1.0, 2.0, 5.0, 9.0]
    a, b = plain.at(log_t=times), run.at(log_t=times)
    assert np.max(np.abs(directions(a) - directions(b))) < 1e-6
    falls = np.asarray(run.log_loss[0] - run.log_loss) / unit
    np.testing.assert_allclose(run.tau, falls, rtol=1e-4, atol=1e-6)


def test_a_clock_of_time_is_a_function_of_time():
    run = solved(Decades())
    np.testing.assert_allclose(
        run.tau, np.logaddexp(0, run.log_t) / np.log(10), rtol=1e-12
    )
    half = run.at(tau=run.tau[-1] / 2)
    assert half.log_t[0] == pytest.approx(run.log_t[-1] / 2, rel=0.02)


def test_a_loss_of_ones_own_flows_and_ends_where_all_such_losses_do():
    # l(z) = log(1 + exp(-2 z)) / 2 of f is half the logistic loss of 2 f: of weights
    # 2^(1/3) times as large, whose time runs 2^(1/3)^2 / 2... as the logistic one's.
    run = solved(loss=Hinge())
    factor = 2 ** (1 / 3)
    other = solved(scale=factor)
    # w = u / c: dw/dt = -grad/2 l(c^3 ...) gives u' = -(c^2 / 2) grad.
    times = np.array([-2.0, 1.0, 4.0, 7.0])
    a = run.at(log_t=times)
    b = other.at(log_t=times + np.log(factor**2 / 2))
    assert np.max(np.abs(directions(a) - directions(b))) < 1e-6
    np.testing.assert_allclose(a.log_radius + np.log(factor), b.log_radius, atol=1e-6)


def test_a_diagnostic_and_a_plot_of_ones_own():
    run = solved()
    count = np.asarray(run.map(effective_samples))
    q = np.asarray(run.weights)
    exact = np.exp(-np.sum(q * np.log(np.maximum(q, 1e-300)), axis=1))
    np.testing.assert_allclose(count, exact, rtol=1e-12)
    line = entropy_plot(run).lines[0]
    assert np.array_equal(line.get_ydata(), count)
