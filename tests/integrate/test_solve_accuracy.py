"""Directions against SciPy's Radau, which shares no code with the solver."""

import functools

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curves import curve, directions, problem
from scipy.integrate import solve_ivp


LOG_T = np.array([5.0, 50.0, 1e3])
POWERS = {"relu2": 2, "cubic": 3}


@functools.cache
def reference(name):
    """Directions and log-radii at `LOG_T`, by Radau in s = log(1 + t)."""
    flow, network = problem(name)
    x, y = flow.x, flow.y
    start = np.concatenate([np.ravel(weight) for weight in network.weights])

    def margins(w):
        hidden = jnp.maximum(x @ w[:100].reshape(10, 10).T, 0.0)
        return y * (hidden ** POWERS[name] @ w[100:])

    def field(s, w):
        # dw/ds = (1 + t) sum_i g(z_i) dz_i/dw / n, with the product in one exponent.
        z, pullback = jax.vjp(margins, w)
        return pullback(jnp.exp(s - jax.nn.softplus(z)) / y.size)[0]

    field, jacobian = jax.jit(field), jax.jit(jax.jacfwd(field, argnums=1))
    times = np.logaddexp(0.0, LOG_T)
    solution = solve_ivp(
        lambda s, w: np.asarray(field(s, w)),
        (0.0, times[-1]),
        start,
        method="Radau",
        rtol=1e-11,
        atol=1e-13,
        jac=lambda s, w: np.asarray(jacobian(s, w)),
        t_eval=times,
    )
    assert solution.success
    radius = np.linalg.norm(solution.y, axis=0)
    return (solution.y / radius).T, np.log(radius)


each_log_t = pytest.mark.parametrize("k", range(3), ids=[f"{t:g}" for t in LOG_T])


def miss(name, rtol, k):
    """Errors of direction and log-radius at one of `LOG_T`, in tolerances."""
    points = curve(name, rtol).at(log_t=LOG_T)
    expected, log_radius = reference(name)
    direction = np.linalg.norm(directions(points)[k] - expected[k])
    return direction / rtol, abs(float(points.log_radius[k]) - log_radius[k]) / rtol


@each_log_t
@pytest.mark.parametrize(
    ("name", "rtol"),
    [
        ("relu2", 1e-4),
        ("relu2", 1e-6),
        ("cubic", 1e-4),
        ("cubic", 1e-6),
        ("cubic", 1e-8),
    ],
)
def test_direction_is_within_twenty_tolerances(name, rtol, k):
    # Three times the worst of some perturbed starts, at jumps of second derivatives.
    assert max(miss(name, rtol, k)) <= (60 if name == "relu2" else 20)


@each_log_t
def test_jumps_of_the_second_derivative_cost_some_hundred_tolerances(k):
    # Squared ReLUs at a tight tolerance: the error estimate of Kvaerno5 sees a jump
    # within a step too small. The third-order method is not so led astray. Three times
    # the worst of ten tolerances near this one.
    direction, log_radius = miss("relu2", 1e-8, k)
    assert direction <= 280
    assert log_radius <= 20


def test_tolerance_buys_accuracy():
    errors = [
        np.linalg.norm(
            directions(curve("cubic", rtol).at(log_t=LOG_T)) - reference("cubic")[0],
            axis=1,
        )
        for rtol in (1e-4, 1e-6, 1e-8)
    ]
    assert np.all(errors[0] > 10 * errors[1])
    assert np.all(errors[1] > 10 * errors[2])


def test_kvaerno3_is_within_twenty_tolerances():
    expected, _ = reference("relu2")
    for rtol in (1e-4, 1e-6):
        trajectory = gflow.solve(
            *problem("relu2"),
            until=gflow.Until(log_t=60.0),
            rtol=rtol,
            solver=gflow.solvers.SampleSpaceKvaerno3(),
            progress=False,
        )
        found = directions(trajectory.at(log_t=LOG_T[:2]))
        assert np.all(np.linalg.norm(found - expected[:2], axis=1) <= 20 * rtol)
