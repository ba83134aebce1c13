"""Physical time against quadrature: of the rate that is kept, and of the true one."""

import itertools
from typing import Any

import gflow
import jax
import mpmath
import numpy as np
import pytest
from curves import curve, exact_log_rate, problem


POINTS, WEIGHTS = np.polynomial.legendre.leggauss(8)


def step_before(trajectory, log_t):
    """The step on which this time lies."""
    return int(np.searchsorted(trajectory.log_t, log_t)) - 1


def quadrature_by_mpmath(scalars):
    """The logarithm of the time that one step takes, in thirty digits."""
    mp: Any = mpmath.mp
    degree = mp.mpf(float(scalars.degree))

    nodes = [mp.mpf(k) / 6 for k in range(7)]
    scales = [mp.fprod(a - b for b in nodes if b != a) for a in nodes]

    def polynomial(values, u):
        """The one through values at the sixths of the step, by Lagrange's formula."""
        return mp.fsum(
            mp.mpf(float(v)) / scale * mp.fprod(u - b for b in nodes if b != a)
            for v, a, scale in zip(values, nodes, scales, strict=True)
        )

    def log_rate(u):
        rho = polynomial(scalars.log_radius, u)
        growth = 1 + mp.exp(degree * rho)
        return growth * polynomial(scalars.rate, u) - (degree - 2) * rho

    top = max(log_rate(mp.mpf(k) / 16) for k in range(17))
    inner = [mp.mpf(2) ** -k for k in range(1, 60)]
    pieces = [0, *inner[::-1], *(1 - u for u in inner[1:]), 1]
    total = mp.quad(lambda u: mp.exp(log_rate(u) - top), pieces, maxdegree=4)
    return top + mp.log(total * mp.mpf(float(scalars.length)))


@pytest.mark.parametrize("log_t", [-2.0, 3.0, 16.0, 1e4, 1e20])
def test_the_rate_kept_on_a_step_is_integrated_to_rounding(log_t):
    trajectory = curve("relu2")
    k = step_before(trajectory, log_t)
    before = -mpmath.inf if k == 0 else mpmath.mpf(float(trajectory.log_t[k]))
    with mpmath.workdps(30):
        scalars = jax.tree.map(lambda a: a[k], trajectory.steps.scalars)
        # The step is entered at `before`, and left where the trajectory says.
        elapsed = quadrature_by_mpmath(scalars)
        expected = mpmath.log(mpmath.exp(before - elapsed) + 1) + elapsed
    found = float(trajectory.log_t[k + 1])
    assert abs(found - float(expected)) <= 1e-12 * max(1.0, abs(found))


def true_log_t(flow, trajectory, start, end):
    """log of the time between two values of tau, from margins on the dense output.

    Panels halve toward the end, where late steps spend all their time.
    """
    edges = np.append(1 - 0.5 ** np.arange(25), 1.0)
    width = np.diff(edges)[:, None]
    fraction = (edges[:-1, None] + width * (POINTS + 1) / 2).ravel()
    log_weights = np.log(width * WEIGHTS / 2).ravel()
    points = trajectory.at(tau=start + (end - start) * fraction)
    return np.log(end - start) + np.logaddexp.reduce(
        exact_log_rate(flow, points) + log_weights
    )


def errors_of_log_t(trajectory):
    """The error of log t at the end of each step, relative where |log t| > 1."""
    flow, _ = problem("relu2")
    tau, log_t = np.asarray(trajectory.tau), np.asarray(trajectory.log_t[1:])
    elapsed = [true_log_t(flow, trajectory, *ends) for ends in itertools.pairwise(tau)]
    expected = np.logaddexp.accumulate(elapsed)
    return np.abs(log_t - expected) / np.maximum(1.0, np.abs(log_t))


@pytest.mark.parametrize(("rtol", "bound"), [(1e-6, 1e-6), (1e-8, 1e-7)])
def test_log_t_is_the_time_that_the_direction_takes(rtol, bound):
    trajectory = curve("relu2", rtol)
    errors = errors_of_log_t(trajectory)
    assert np.max(errors) <= bound
    log_t = np.asarray(trajectory.log_t[1:])
    assert np.max(errors[(log_t < 0) | (log_t > 1e4)]) <= 1e-7


@pytest.mark.parametrize("log_t", [-30.0, -5.0, -1.0])
def test_log_t_within_the_first_step_is_the_time_that_it_takes(log_t):
    trajectory = curve("relu2")
    point = trajectory.at(log_t=log_t)
    expected = true_log_t(problem("relu2")[0], trajectory, 0.0, float(point.tau[0]))
    assert abs(expected - log_t) <= 1e-8


@pytest.mark.parametrize("log_scale", [60.0, 300.0, 690.0])
def test_times_late_in_long_steps_are_found(log_scale):
    """On one step t may grow by e to 1e200: log t, an exponential, is what is inverted.

    The loss of the logistic flow is 1 / t, but for log log t.
    """
    random = np.random.default_rng(2)
    x = random.normal(size=(9, 3))
    flow = gflow.GradientFlow(gflow.Logistic(), x, np.sign(x[:, 1]))
    network = gflow.nn.MLP(3, (4, 3), leak=1.0, key=jax.random.key(5))
    until = gflow.Until(log_margin_scale=log_scale)
    curve = gflow.solve(flow, network, until=until, progress=False)
    end = float(curve.log_t[-1])
    times = np.append(np.geomspace(10.0, 0.999 * end, 300), end)
    found = curve.at(log_t=times)
    late = times > 1e4
    # L t (log t)^(2 - 2/L) tends to a constant.
    np.testing.assert_allclose(-found.log_loss[late] / times[late], 1, rtol=1e-2)
    fine = curve.refined(16)
    assert np.all(np.diff(fine.log_t) > 0)
    place = np.interp(times, np.asarray(fine.log_t), np.arange(len(fine)))
    low, high = np.floor(place).astype(int), np.ceil(place).astype(int)
    log_radius = np.asarray(fine.log_radius)
    assert np.all(found.log_radius >= log_radius[low] - 1e-9)
    assert np.all(found.log_radius <= log_radius[high] + 1e-9)
    again = curve.at(tau=np.asarray(found.tau)[::7])
    np.testing.assert_allclose(again.log_radius, found.log_radius[::7], rtol=1e-6)
