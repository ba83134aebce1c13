import itertools
import math

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow.nn import MLP, DeepLinear
from points import there
from runs import flat, linear_run, relu2_run


def close(actual, expected, rtol):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol)


def random_linear(scale=1.0):
    random = np.random.default_rng(3)
    shapes = [(4, 3), (5, 4), (5,)]
    return DeepLinear.from_weights([scale * random.normal(size=s) for s in shapes])


def rank_one(random, sizes):
    """A balanced product of rank-one layers, each aligned with the next."""
    units = [random.normal(size=size) for size in sizes]
    units = [unit / np.linalg.norm(unit) for unit in units]
    layers = [np.outer(u, v) for v, u in itertools.pairwise(units)]
    return DeepLinear.from_weights([*layers, units[-1]]), units


@pytest.mark.parametrize("scale", [1.0, 1e-160, 1e150])
def test_spectra_agree_with_numpy(scale):
    network = random_linear()
    scaled = random_linear(scale)
    for layer, weight in enumerate(network.weights):
        matrix = np.atleast_2d(np.asarray(weight))
        u, s, vt = np.linalg.svd(matrix)
        frobenius = np.linalg.norm(matrix)
        residual = np.linalg.norm(matrix / frobenius - np.outer(u[:, 0], vt[0]))
        close(
            gflow.layers.spectral_ratios(there(scaled))[layer],
            s[0] / frobenius,
            1e-14,
        )
        close(
            gflow.layers.stable_ranks(there(scaled))[layer],
            (frobenius / s[0]) ** 2,
            1e-13,
        )
        close(
            gflow.layers.rank_one_residuals(there(scaled))[layer],
            residual,
            1e-14,
        )


def test_rank_one_residual_has_digits_below_rounding_of_the_ratio():
    matrix = np.diag([1.0, 1e-11])
    network = DeepLinear.from_weights([matrix, np.ones(2)])
    assert gflow.layers.spectral_ratios(there(network))[0] == 1
    close(
        gflow.layers.rank_one_residuals(there(network))[0] / 1e-11,
        1.0,
        1e-10,
    )


def test_kernels_are_matrices_of_their_outputs():
    kernel = np.random.default_rng(0).normal(size=(4, 3, 2, 2))
    values = np.linalg.svd(kernel.reshape(4, 12), compute_uv=False)
    expected = np.sum(values**2) / values[0] ** 2
    close(
        gflow.layers.stable_ranks(there({"kernel": jnp.asarray(kernel)}))[0],
        expected,
        1e-13,
    )


def test_layer_alignments_agree_with_numpy():
    network = random_linear(1e-90)
    first, second, last = (np.asarray(w) for w in random_linear().weights)
    (u1, _, _), (u2, _, v2) = np.linalg.svd(first), np.linalg.svd(second)
    expected = [abs(v2[0] @ u1[:, 0]), abs(last @ u2[:, 0]) / np.linalg.norm(last)]
    close(gflow.layers.alignments(there(network)), expected, 1e-13)
    assert gflow.layers.alignments(there(DeepLinear.from_weights([last]))).shape == (0,)


def test_tied_singular_values_have_no_alignment():
    network = DeepLinear.from_weights([np.eye(2), np.diag([2.0, 1.0]), np.ones(2)])
    alignments = gflow.layers.alignments(there(network))
    assert np.isnan(alignments[0])
    close(alignments[1], math.sqrt(0.5), 1e-15)


def test_layers_that_are_no_chain_are_refused():
    network = [jnp.ones((2, 3)), jnp.ones((2, 3))]
    for fn in (gflow.layers.alignments, gflow.layers.balance, gflow.layers.imbalance):
        with pytest.raises(ValueError, match="array 1 has 3 columns after 2 rows"):
            fn(there(network))


def test_zero_layers_have_no_spectrum():
    network = DeepLinear.from_weights([np.zeros((2, 2)), np.ones(2)])
    for fn in (
        gflow.layers.stable_ranks,
        gflow.layers.spectral_ratios,
        gflow.layers.rank_one_residuals,
    ):
        assert np.isnan(fn(there(network))[0])
        assert np.isfinite(fn(there(network))[1])
    assert np.all(np.isnan(gflow.layers.alignments(there(network))))
    assert np.all(np.isnan(gflow.layers.product_direction(there(network))))
    assert np.all(np.isnan(gflow.neurons.directions(there(network))))


def test_balance_agrees_with_numpy():
    network = random_linear()
    first, second, last = (np.asarray(w) for w in network.weights)
    gaps = [second.T @ second - first @ first.T]
    gaps.append(np.outer(last, last) - second @ second.T)
    norms = [np.sum(w**2) for w in (first, second, last)]
    d = max(norms) - norms[-1] + sum(np.linalg.norm(gap, 2) for gap in gaps)
    for found, gap in zip(gflow.layers.balance(there(network)), gaps, strict=True):
        close(found, gap, 1e-13)
    close(gflow.layers.imbalance(there(network)), d, 1e-13)
    rho = 0.5 * math.log(sum(norms))
    tiny = random_linear(1e-80)
    close(gflow.layers.imbalance(there(tiny, rho)), d, 1e-12)
    for pair, gap in zip(gflow.neurons.balance(there(network)), gaps, strict=True):
        close(pair, -np.diag(gap), 1e-13)
    with pytest.raises(ValueError, match="but is dict"):
        gflow.neurons.balance(there({"w": jnp.ones(2)}))


def test_balanced_layers_are_rank_one_and_aligned():
    network, units = rank_one(np.random.default_rng(1), (6, 4, 3))
    assert np.max(gflow.layers.rank_one_residuals(there(network))) < 1e-15
    close(gflow.layers.alignments(there(network)), 1.0, 1e-15)
    close(gflow.layers.imbalance(there(network)), 0.0, 1e-14)
    close(gflow.layers.product_direction(there(network)), units[0], 1e-15)


def test_linear_layers_keep_their_balance_along_a_run():
    _, start, curve = linear_run()
    early = curve.at(tau=curve.tau[curve.log_radius < 5.0])
    gaps = early.map(gflow.layers.balance)
    for gap, first in zip(gaps, gflow.layers.balance(there(start)), strict=True):
        drift = np.abs(gap - first[None]) * np.exp(-2 * early.log_radius)[:, None, None]
        assert np.max(drift) < 1e-8  # the tolerance of the run


def test_the_product_ends_in_the_max_margin_direction():
    flow, _, curve = linear_run()
    exact = gflow.reference.hard_margin(flow.x, flow.y).direction
    ends = np.asarray(curve.map(gflow.layers.product_direction))
    assert np.linalg.norm(ends[-1] - exact) < 1e-9
    assert np.linalg.norm(ends[0] - exact) > 0.1
    with pytest.raises(ValueError, match=r"`point.network` must be a `gflow.nn.DeepL"):
        gflow.layers.product_direction(there(relu2_run()[1]))


def test_squared_relus_keep_the_balance_of_each_unit():
    _, start, curve = relu2_run()
    early = curve.at(tau=curve.tau[curve.log_radius < 3.0])
    (balance,) = early.map(gflow.neurons.balance)
    (first,) = gflow.neurons.balance(there(start))
    v, a = (np.asarray(w) for w in jax.tree.leaves(start))
    close(first, np.sum(v**2, axis=1) - 2 * a**2, 1e-13)
    drift = np.abs(balance - first[None]) * np.exp(-2 * early.log_radius)[:, None]
    assert np.max(drift) < 1e-8


def test_neurons_agree_with_numpy():
    _, _, curve = relu2_run()
    network = jax.tree.map(lambda leaf: 1e-120 * leaf[-1], curve.direction)
    v, a = (np.asarray(leaf[-1]) for leaf in curve.direction.weights)
    rows = v / np.linalg.norm(v, axis=1, keepdims=True)
    close(gflow.neurons.directions(there(network)), rows, 1e-14)
    shares = gflow.neurons.shares(there(network))
    close(shares, np.sum(v**2, axis=1) + a**2, 1e-14)
    close(jnp.sum(shares), 1.0, 1e-14)
    for fn in (gflow.neurons.directions, gflow.neurons.shares):
        with pytest.raises(ValueError, match=r"`layer` must be .* but is 2"):
            fn(there(network), layer=2)


def test_rotations_are_angles():
    start = MLP.from_weights([np.eye(2), np.array([1.0, 1.0])])
    angle = 1e-9
    turned = np.array([[math.cos(1.0), math.sin(1.0)], [-angle, 1.0]])
    network = MLP.from_weights([5 * turned, 5 * np.array([1.0, 1.0])])
    close(
        gflow.neurons.rotations(there(network), start) / np.array([1.0, angle]),
        1.0,
        1e-12,
    )
    cosine = (math.cos(1.0) + 1 + 2) / 4
    close(
        gflow.paths.rotation(there(network), start),
        math.acos(cosine),
        1e-14,
    )
    close(gflow.paths.rotation(there(start), start), 0.0, 0)
    opposite = jax.tree.map(jnp.negative, start)
    close(gflow.paths.rotation(there(opposite), start), math.pi, 1e-15)


def test_distance_from_the_start():
    _, start, curve = linear_run()
    index = np.argmax(curve.log_radius > 2.0)
    r = np.exp(curve.log_radius[index])
    end = flat(jax.tree.map(lambda leaf: leaf[index], curve.direction))
    direct = np.linalg.norm(r * end - flat(start))
    logs = curve.map(lambda point: gflow.paths.log_distance(point, start))
    close(logs[index], math.log(direct), 1e-13)
    far = gflow.paths.log_distance(there(start, 1e6), start)
    close(far, 1e6, 1e-15)
    assert gflow.paths.log_distance(there(start), start) == -math.inf
