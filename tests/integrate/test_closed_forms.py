"""Flows known in closed form, from log t = -10 to 1e5: direction, radius and time.

Two points x, -x with labels 1, -1 act as one: their margins are equal.
"""

import functools
from typing import Any

import gflow
import mpmath
import numpy as np
import pytest
from curves import directions
from scipy.optimize import brentq


LOG_T = np.array([-10.0, -3.0, 0.0, 1.0, 3.0, 10.0, 100.0, 1e3, 1e5])
RTOL = 1e-8
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(16)
mp: Any = mpmath.mp


@functools.cache
def solved(loss, point, *weights):
    """A product of matrices on one point and its mirror image, at `LOG_T`."""
    x, y = np.array([point, np.negative(point)]), np.array([1.0, -1.0])
    network = gflow.nn.DeepLinear.from_weights([np.array(w) for w in weights])
    return gflow.solve(
        gflow.GradientFlow(loss, x, y),
        network,
        until=gflow.Until(log_t=1e5),
        rtol=RTOL,
        progress=False,
    ).at(log_t=LOG_T)


def exponential_margin(z0, time):
    """z' = e^-z."""
    return mp.log(mp.exp(z0) + time)


def logistic_margin(z0, time):
    """z' = 1 / (1 + e^z): p + log p = z0 + e^z0 + t with p = e^z."""
    total = z0 + mp.exp(z0) + time
    guess = total - mp.log(total) if total > 2 else mp.exp(total - 1)
    p = mp.findroot(lambda p: p + mp.log(p) - total, guess)
    return mp.log(p)


@pytest.mark.parametrize(
    ("loss", "margin"),
    [
        (gflow.Exponential(), exponential_margin),
        (gflow.Logistic(), logistic_margin),
    ],
    ids=["exponential", "logistic"],
)
def test_one_point_and_a_linear_network(loss, margin):
    # w - w0 is along x, and z' = |x|^2 g(z).
    point, start = (1.5, -0.5), (0.2, 0.7)
    found = solved(loss, point, start)
    x, w0 = np.array(point), np.array(start)
    with mpmath.workdps(30):
        times = [x @ x * mp.exp(float(u)) for u in LOG_T]
        z = np.array([float(margin(mp.mpf(x @ w0), t)) for t in times])
    w = w0 + np.outer((z - x @ w0) / (x @ x), x)
    radius = np.linalg.norm(w, axis=1)
    miss = np.linalg.norm(directions(found) - w / radius[:, None], axis=1)
    assert np.max(miss) <= 20 * RTOL
    assert np.max(np.abs(found.log_radius - np.log(radius))) <= 20 * RTOL


def log_time_to_rise(log_rise, start, kept):
    """log t from z' = e^-z (w1^2 + w2^2), where w1^2 + w2^2 = sqrt(kept^2 + 4 z^2)."""
    rise = np.exp(log_rise)
    # Before the last 60 lies e^-60 of the whole.
    edges = np.linspace(max(0.0, rise - 60), rise, 61)
    width = np.diff(edges)[:, None]
    z = edges[:-1, None] + width * (POINTS + 1) / 2
    rate = np.exp(z - rise) / np.sqrt(kept**2 + 4 * (start + z) ** 2)
    return start + rise + np.log(np.sum(width / 2 * rate * WEIGHTS))


def test_the_time_of_balanced_weights_is_an_exponential_integral():
    for rise in (1e-3, 1.0, 30.0):
        time = mp.exp(log_time_to_rise(np.log(rise), 0.01, 0.0))
        expected = (mp.ei(0.01 + rise) - mp.ei(0.01)) / 2
        assert abs(time / expected - 1) <= 1e-12


@pytest.mark.parametrize("weights", [(0.1, 0.1), (0.9, 0.1)], ids=["balanced", "not"])
def test_one_point_and_a_product_of_two_weights(weights):
    first, last = weights
    start, kept = first * last, first**2 - last**2
    found = solved(gflow.Exponential(), (1.0,), ((first,),), (last,))
    rises: list[Any] = [
        brentq(lambda v: log_time_to_rise(v, start, kept) - u, -20.0, 20.0)
        for u in LOG_T
    ]
    z = start + np.exp(rises)
    square = np.sqrt(kept**2 + 4 * z**2)
    # cos 2 phi = cos 2 phi_0 (r_0 / r)^2
    phi = np.arccos(kept / square) / 2
    expected = np.stack([np.cos(phi), np.sin(phi)], axis=1)
    miss = np.linalg.norm(directions(found) - expected, axis=1)
    grown = np.abs(found.log_radius - np.log(square) / 2)
    assert np.max(miss) <= 20 * RTOL
    assert np.max(grown) <= 20 * RTOL
