import math

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from gflow import Exponential
from gflow.nn import DeepLinear
from runs import flat, linear_run, numpy_margins_and_gradients, relu2_run


ONE = np.ones(1)


def close(actual, expected, rtol):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol)


def at(curve, index):
    return jax.tree.map(lambda leaf: leaf[index], curve.direction)


@pytest.fixture(scope="module")
def late():
    """A fitted squared-ReLU network of norm one, its log-radius and weights."""
    flow, _, curve = relu2_run()
    index = int(np.argmax(3 * curve.log_radius > 12.0))
    return flow, at(curve, index), curve.log_radius[index], curve.weights[index]


def test_dual_weights_are_those_of_the_run():
    flow, _, curve = relu2_run()
    every = curve[::7]
    known = 3 * every.log_radius < 14.0
    own = [gflow.point(flow, p.direction, log_radius=p.log_radius) for p in every]
    weights = np.stack([point.weights for point in own])
    close(np.asarray(weights)[known], np.asarray(every.weights)[known], 1e-6)
    lost = 3 * every.log_radius > math.log(1e10)
    assert np.all(np.isnan(np.asarray(weights)[lost]))
    assert not np.any(np.isnan(np.asarray(weights)[~lost]))


def test_dual_weights_of_the_logistic_loss():
    flow, network = gflow.problems.linear()
    g = 1 / (1 + np.exp(np.asarray(flow.margins(network))))
    close(gflow.point(flow, network).weights, g / np.sum(g), 1e-13)


def test_slacks_and_support(late):
    flow, network, _, _ = late
    z, _ = numpy_margins_and_gradients(network, flow)
    close(gflow.margins.slacks(gflow.point(flow, network)), z / np.min(z) - 1, 1e-12)
    assert np.array_equal(
        gflow.margins.support(gflow.point(flow, network), 0.1), z <= 1.1 * np.min(z)
    )
    wrong = jax.tree.map(jnp.negative, network)
    assert np.all(np.isnan(gflow.margins.slacks(gflow.point(flow, wrong))))
    assert not np.any(gflow.margins.support(gflow.point(flow, wrong)))


def test_support_of_deep_linear_layers_is_that_of_the_points():
    flow, _, curve = linear_run()
    exact = gflow.reference.hard_margin(flow.x, flow.y).support
    masks = np.asarray(curve.map(gflow.margins.support))
    assert np.array_equal(np.flatnonzero(masks[-1]), exact)


def test_gradient_alignments(late):
    flow, network, _, _ = late
    z, gradients = numpy_margins_and_gradients(network, flow)
    expected = 3 * z / np.linalg.norm(gradients, axis=1)
    tiny = jax.tree.map(lambda leaf: 1e-90 * leaf, network)
    close(gflow.kkt.gradient_alignments(gflow.point(flow, tiny)), expected, 1e-12)


def test_kkt_residual_is_the_residual(late):
    flow, network, log_radius, weights = late
    found = gflow.kkt.residual(
        gflow.point(flow, network, log_radius=log_radius, weights=weights)
    )
    z, gradients = numpy_margins_and_gradients(network, flow)
    margin, multipliers = np.min(z), np.asarray(found.multipliers)
    # At w / margin^(1/3) margins are z / margin, and gradients scale by margin^(-2/3).
    pull = multipliers @ gradients * margin ** (-2 / 3)
    direct = np.linalg.norm(flat(network) * margin ** (-1 / 3) - pull)
    close(found.stationarity, direct, 1e-12)
    close(found.slack, np.max(multipliers * (z / margin - 1)), 1e-12)
    close(found.slack_sum, multipliers @ (z / margin - 1), 1e-12)
    assert np.min(multipliers) >= 0
    beta = float(
        gflow.kkt.alignment(
            gflow.point(flow, network, log_radius=log_radius, weights=weights)
        )
    )
    close(found.stationarity, margin ** (-1 / 3) * math.sqrt(2 * (1 - beta)), 1e-10)


def test_slack_obeys_the_bound_for_the_exponential_loss():
    flow, _, curve = relu2_run()
    kkt, smoothed, margin = curve.map(
        lambda point: (
            gflow.kkt.residual(point),
            gflow.margins.smoothed(point),
            gflow.margins.normalized(point),
        )
    )
    fitted = np.asarray(smoothed) > 0
    alpha = np.asarray(smoothed) * np.exp(3 * curve.log_radius)
    assert np.sum(fitted) > 50
    size = np.asarray(margin)[fitted] ** (-2 / 3)
    bound = len(flow.y) * size / (math.e * 3 * alpha[fitted])
    # Past R = 1e10 the weights see that R, and slacks stay as they are there.
    assert np.all(np.asarray(kkt.slack_sum)[fitted] <= bound + 1e-9)
    assert np.all(np.asarray(kkt.slack)[fitted] <= np.asarray(kkt.slack_sum)[fitted])
    assert np.all(np.isnan(np.asarray(kkt.stationarity)[np.asarray(margin) <= 0]))


def test_tightest_kkt_residual_agrees_with_another_method(late):
    flow, network, log_radius, weights = late
    found = gflow.kkt.tightest(gflow.point(flow, network), np.inf)
    z, gradients = numpy_margins_and_gradients(network, flow)
    margin = np.min(z)
    matrix = gradients.T * margin ** (-2 / 3)
    target = flat(network) * margin ** (-1 / 3)
    other = scipy.optimize.lsq_linear(
        matrix, target, (0, np.inf), method="bvls", tol=1e-14
    )
    close(found.stationarity, math.sqrt(2 * other.cost), 1e-9)
    direct = np.linalg.norm(target - matrix @ np.asarray(found.multipliers))
    close(found.stationarity, direct, 1e-12)
    plain = gflow.kkt.residual(
        gflow.point(flow, network, log_radius=log_radius, weights=weights)
    )
    assert found.stationarity < plain.stationarity
    near = gflow.kkt.tightest(gflow.point(flow, network), 0.01)
    assert near.stationarity >= found.stationarity - 1e-12
    assert np.all(np.asarray(near.multipliers)[z > 1.01 * margin] == 0)


def test_tightest_kkt_residuals_along_a_run():
    flow, _, curve = linear_run()
    times = curve.at(tau=curve.tau[::10])
    tight = times.map(lambda point: gflow.kkt.tightest(point, np.inf))
    plain = times.map(gflow.kkt.residual)
    fitted = ~np.isnan(np.asarray(plain.stationarity))
    assert np.array_equal(fitted, ~np.isnan(tight.stationarity))
    gap = np.asarray(tight.stationarity - plain.stationarity)[fitted]
    assert np.max(gap) < 1e-12
    assert tight.multipliers.shape == (len(times.tau), len(flow.y))
    with pytest.raises(ValueError, match="`within` must not be negative"):
        gflow.kkt.tightest(gflow.point(flow, at(curve, -1)), -1.0)


def test_the_residual_vanishes_at_an_exact_limit():
    # Balanced rank-one layers over the hard-margin direction.
    flow, _ = gflow.problems.linear(Exponential())
    exact = gflow.reference.hard_margin(flow.x, flow.y)
    network = DeepLinear.from_weights([exact.direction[None], ONE[None], ONE])
    found = gflow.kkt.tightest(gflow.point(flow, network), 1e-09)
    assert found.stationarity < 1e-13
    assert found.slack_sum < 1e-13
    q = exact.multipliers / np.sum(exact.multipliers)
    plain = gflow.kkt.residual(
        gflow.point(flow, network, log_radius=1000.0, weights=jnp.asarray(q))
    )
    assert plain.stationarity < 1e-14
    assert (
        gflow.kkt.bregman(
            gflow.point(flow, network, log_radius=1000.0, weights=jnp.asarray(q))
        )
        < 1e-28
    )


def test_tangent_kernel_agrees_with_numpy(late):
    flow, network, _, _ = late
    _, gradients = numpy_margins_and_gradients(network, flow)
    tiny = jax.tree.map(lambda leaf: 1e-90 * leaf, network)
    close(
        gflow.kernels.tangent(gflow.point(flow, tiny)), gradients @ gradients.T, 1e-13
    )


def test_kernel_change():
    flow, start, curve = relu2_run()
    index = int(np.argmax(curve.log_radius > 1.5))
    changes = curve.map(lambda point: gflow.kernels.change(point, curve[0]))
    grown = jax.tree.map(
        lambda leaf: np.exp(curve.log_radius[index]) * leaf, at(curve, index)
    )
    before, after = (
        (lambda j: j @ j.T)(numpy_margins_and_gradients(net, flow)[1])
        for net in (start, grown)
    )
    expected = np.linalg.norm(after - before) / np.linalg.norm(before)
    close(changes[index] / expected, 1.0, 1e-12)
    assert changes[0] < 1e-13
    # The kernel of a network scaled by c is c^(2 (L - 1)) times as large.
    tiny = gflow.problems.relu2(scale=1e-100)[1]
    twice = jax.tree.map(lambda leaf: 2 * leaf, tiny)
    close(
        gflow.kernels.change(gflow.point(flow, twice), gflow.point(flow, tiny)),
        2**4 - 1,
        1e-12,
    )
    assert (
        gflow.kernels.change(
            gflow.point(flow, tiny, log_radius=1000.0), gflow.point(flow, tiny)
        )
        == np.inf
    )
