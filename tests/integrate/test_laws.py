"""Laws that hold at every point of every trajectory, whatever the network."""

import itertools

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curves import EXPONENTIAL, PROBLEMS, curve, directions, exact_log_rate, problem


each_problem = pytest.mark.parametrize("name", PROBLEMS)
each_exponential = pytest.mark.parametrize("name", EXPONENTIAL)
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(8)


@each_problem
def test_curves_pass_the_public_check(name):
    gflow.testing.check_trajectory(curve(name))


@each_problem
def test_directions_have_norm_one(name):
    trajectory = curve(name)
    between = trajectory.at(tau=np.linspace(0.0, trajectory.tau[-1], 100))
    for vectors in (directions(trajectory), directions(between)):
        assert np.max(np.abs(np.linalg.norm(vectors, axis=-1) - 1)) <= 1e-12


def at_norm_one(point):
    return point.flow.margins(point.direction)


@each_problem
def test_clocks_run_forward(name):
    trajectory = curve(name)
    assert np.all(np.diff(trajectory.tau) > 0)
    assert np.all(np.diff(trajectory.log_t[1:]) > 0)
    assert trajectory.tau[0] == 0
    assert trajectory.log_t[0] == -np.inf


@each_problem
def test_weights_are_a_point_of_the_simplex(name):
    weights = np.asarray(curve(name).weights)
    assert np.all(weights >= 0)
    assert np.max(np.abs(np.sum(weights, axis=1) - 1)) <= 1e-12


@each_problem
def test_weights_belong_to_the_margins(name):
    # q = softmax(log g(R z)), to R times the tolerance.
    flow, _ = problem(name)
    trajectory = curve(name)
    log_scale = trajectory.degree * np.asarray(trajectory.log_radius)
    early = log_scale < np.log(1e3)
    z = np.exp(log_scale)[:, None] * np.asarray(trajectory.map(at_norm_one))
    expected = jax.nn.softmax(flow.loss.log_weight(z), axis=1)
    error = np.max(np.abs(trajectory.weights - expected), axis=1)
    assert np.all(error[early] <= 1e-6 * np.maximum(1.0, np.exp(log_scale[early])))


@each_problem
def test_log_loss_is_that_of_the_margins(name):
    flow, _ = problem(name)
    trajectory = curve(name)
    scale = np.exp(trajectory.degree * np.asarray(trajectory.log_radius))
    z = scale[:, None] * np.asarray(trajectory.map(at_norm_one))
    losses = np.asarray(flow.loss.log_loss(z))
    expected = np.logaddexp.reduce(losses, axis=1) - np.log(z.shape[1])
    error = np.abs(trajectory.log_loss - expected)
    # Exact at the ends of steps; the last time lies within one.
    assert np.all(error[:-1] <= 1e-12 * np.maximum(1.0, np.abs(expected[:-1])))
    assert error[-1] <= 20 * 1e-6 * scale[-1]


@each_problem
def test_euler_identity(name):
    # <theta, dz/dtheta> = L z
    trajectory = curve(name)
    thetas = jnp.asarray(directions(trajectory)[::7])
    z, jacobians = jax.vmap(trajectory.field.jacobian)(thetas)
    inner = jnp.einsum("tij,tj->ti", jacobians, thetas)
    assert np.max(np.abs(inner - trajectory.degree * z)) <= 1e-12 * np.max(np.abs(z))


@each_exponential
def test_smoothed_margin_never_falls_once_positive(name):
    # Lyu and Li (2020): d log(smoothed) / d log r >= L |d theta / d log r|^2.
    flow, _ = problem(name)
    trajectory = curve(name)
    total = -np.asarray(trajectory.log_loss) - np.log(flow.y.size)
    positive = total > 0
    assert np.sum(positive) > 10
    log_radius = np.asarray(trajectory.log_radius)[positive]
    smoothed = np.log(total[positive]) - trajectory.degree * log_radius
    assert np.min(np.diff(smoothed)) >= -1e-13


def over_steps(trajectory, rate):
    """The integral of a rate over each step, by eight points on its dense output."""
    tau = np.asarray(trajectory.tau)
    width = np.diff(tau)
    points = tau[:-1, None] + width[:, None] * (POINTS + 1) / 2
    values = rate(trajectory.at(tau=points.ravel())).reshape(points.shape)
    return width / 2 * (values @ WEIGHTS)


def pulls(trajectory, samples):
    r"""$J^T q$ and $\langle q, z \rangle$ at each time, at the margins' own q."""
    field = trajectory.field
    states = np.concatenate(
        [directions(samples), np.asarray(samples.log_radius)[:, None]], axis=1
    )

    def one(state):
        z, jacobian = field.jacobian(state[:-1])
        q = field.dual_weights(z, state[-1], jnp.ones(z.size, bool))
        return jnp.linalg.norm(q @ jacobian), q @ z

    return jax.jit(jax.vmap(one))(states)


@each_problem
def test_log_radius_grows_by_the_weighted_margin(name):
    # d rho / d tau = L <q, z>
    trajectory = curve(name)
    grown = over_steps(
        trajectory,
        lambda s: trajectory.degree * np.asarray(pulls(trajectory, s)[1]),
    )
    early = trajectory.degree * np.asarray(trajectory.log_radius[1:]) < np.log(1e4)
    error = np.abs(np.diff(trajectory.log_radius) - grown)[early]
    assert np.max(error) <= 20 * 1e-6


@each_exponential
def test_loss_falls_by_the_squared_gradient(name):
    # d log L / d tau = -R |J^T q|^2, from dL/dt = -|grad L|^2.
    trajectory = curve(name)

    def rate(samples):
        log_scale = trajectory.degree * np.asarray(samples.log_radius)
        norm, _ = pulls(trajectory, samples)
        return -np.exp(log_scale) * np.asarray(norm) ** 2

    log_scale = trajectory.degree * np.asarray(trajectory.log_radius[1:])
    early = log_scale < np.log(1e4)
    error = np.abs(np.diff(trajectory.log_loss) - over_steps(trajectory, rate))
    error = error / np.maximum(1.0, np.exp(log_scale))
    assert np.max(error[early]) <= 20 * 1e-6


def test_rate_of_time_is_exact_at_the_ends_of_steps():
    flow, _ = problem("cubic")
    trajectory = curve("cubic")
    # dt/dtau, the part of the clock of growth taken out.
    scalars, ones = trajectory.steps.scalars, np.ones((trajectory.steps.tau.size, 1))
    kept = scalars.log_rate(ones) - scalars.log_tau_rate(ones)
    exact = exact_log_rate(flow, trajectory)[1:]
    error = np.abs(np.asarray(kept)[:, 0] - exact) / np.maximum(1.0, np.abs(exact))
    assert np.max(error[:-1]) <= 1e-12  # the last time lies within a step


def test_deep_linear_layers_stay_balanced():
    # W_{k+1}^T W_{k+1} - W_k W_k^T is constant, in units of r^2.
    _, network = problem("linear, exponential")
    trajectory = curve("linear, exponential")

    def balances(layers):
        pairs = itertools.pairwise(layers)
        return [np.outer(b, b) - a @ a.T if b.ndim == 1 else b.T @ b - a @ a.T
                for a, b in pairs]  # fmt: skip

    start = balances([np.asarray(weight) for weight in network.weights])
    layers = [np.asarray(weight) for weight in trajectory.direction.weights]
    square = np.exp(2 * np.asarray(trajectory.log_radius))
    drift = max(
        np.linalg.norm(now - before / square[k])
        for k in range(len(square))
        for now, before in zip(balances([w[k] for w in layers]), start, strict=True)
    )
    assert drift <= 20 * 1e-6
