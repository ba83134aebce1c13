"""Kinks: smoothing keeps every degree and errs by what it says."""

# Wrong types are passed on purpose.
# pyright: reportArgumentType=false
import math

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import _tree
from gflow.nn import (
    EPS,
    MLP,
    DeepLinear,
    Fixed,
    absolute,
    leaky_relu,
    max_pool,
    maximum,
    radius,
    relu,
    with_eps,
)
from hypothesis import given, strategies as st
from kinks import KEY, kinked, twice


X = np.random.default_rng(0).normal(size=(7, 4))

LEAK = np.array([0.3, 1.0])
# Each kink as a function of three numbers, a scale and a width, and its branches.
KINKS = {
    "relu": (lambda b, s, e: relu(b[0], s, e), lambda b: [0 * b[0], b[0]]),
    "leaky": (
        lambda b, s, e: leaky_relu(b[0], 0.3, s, e),
        lambda b: b[0] * LEAK,
    ),
    "bent": (lambda b, s, e: leaky_relu(b[0], -2.0, s, e), lambda b: [-2 * b[0], b[0]]),
    "absolute": (lambda b, s, e: absolute(b[0], s, e), lambda b: [-b[0], b[0]]),
    "two": (lambda b, s, e: maximum(b[:2], s, e), lambda b: [b[0], b[1]]),
    "three": (lambda b, s, e: maximum(b, s, e), lambda b: list(b)),
    "five": (
        lambda b, s, e: maximum(jnp.concatenate([b, -b[:2]]), s, e),
        lambda b: [*b, -b[0], -b[1]],
    ),
    "pool": (
        lambda b, s, e: max_pool(
            jnp.concatenate([b, 2 * b[:1]]).reshape(1, 2, 2), 2, s, e
        )[0, 0, 0],
        lambda b: [*b, 2 * b[0]],
    ),
}
each_kink = pytest.mark.parametrize(
    ("kink", "branches"), KINKS.values(), ids=KINKS.keys()
)
three = st.tuples(*[st.floats(-10, 10)] * 3).map(np.array)
widths = st.sampled_from([0.0, 1e-8, 1e-5, 1e-2, 1.0])
compiled = {
    kink: jax.jit(jax.value_and_grad(kink, argnums=(0, 1)))
    for kink, _ in KINKS.values()
}


@each_kink
@given(b=three, eps=widths, c=st.floats(1e-3, 1e3))
def test_a_kink_is_homogeneous_in_its_branches_and_scale(kink, branches, b, eps, c):
    del branches
    value, (slope, of_scale) = compiled[kink](b, 1.3, eps)
    scaled, _ = compiled[kink](c * b, c * 1.3, eps)
    size = max(np.max(np.abs(b)), eps)
    assert abs(scaled - c * value) <= 1e-14 * c * size
    # Euler's identity, and the width acts through the entropy of the gates.
    assert abs(np.dot(slope, b) + 1.3 * of_scale - value) <= 1e-14 * size
    assert 0 <= of_scale <= eps * math.log(5) * (1 + 1e-14)


@each_kink
@given(b=three, eps=widths, scale=st.floats(1e-3, 1e3))
def test_the_error_is_at_most_the_width_times_a_logarithm(
    kink, branches, b, eps, scale
):
    many = np.array(branches(b))
    value, (slope, _) = compiled[kink](b, scale, eps)
    rounding = 1e-14 * max(np.max(np.abs(many)), eps * scale)
    assert np.max(many) - rounding <= value
    assert value <= np.max(many) + eps * scale * math.log(len(many)) + rounding
    if eps > 0:
        # The definition, in NumPy.
        shifted = (many - many.max()) / (eps * scale)
        expected = many.max() + eps * scale * np.log(np.sum(np.exp(shifted)))
        assert abs(value - expected) <= rounding
    assert np.all(np.isfinite(slope))


@pytest.mark.parametrize("u", [-0.2, 0.0, 0.1])
def test_a_leak_above_one_is_a_minimum(u):
    width = 0.05
    assert leaky_relu(u, 3.0, 1.0, 0.0) == min(3 * u, u)
    expected = -width * np.logaddexp(-3 * u / width, -u / width)
    assert float(leaky_relu(u, 3.0, 1.0, width)) == pytest.approx(expected, rel=1e-14)
    assert leaky_relu(u, 1.0, 1.0, width) == u


# Derivatives


@pytest.mark.parametrize("eps", [1e-5, 1e-8])
def test_derivatives_of_relu_are_those_of_softplus(eps):
    # s = sigmoid(u / eps): first derivative s, second s (1 - s) / eps.
    ratios = np.array([0.0, 1e-3, 1.0, 5.0, 30.0, 700.0, 1e12])
    ratios = np.concatenate([-ratios, ratios])
    first = jax.grad(relu)
    second = jax.grad(first)
    both = jax.vmap(lambda u: (first(u, 1.0, eps), second(u, 1.0, eps)))
    slopes, curvatures = jax.jit(both)(ratios * eps)
    small = np.exp(-np.abs(ratios))
    gate = np.where(ratios > 0, 1, small) / (1 + small)
    np.testing.assert_allclose(slopes, gate, rtol=1e-13, atol=1e-300)
    expected = small / (1 + small) ** 2 / eps
    np.testing.assert_allclose(curvatures, expected, rtol=1e-13, atol=1e-300)


def all_second(kink, b, scale, eps):
    return jax.hessian(kink, argnums=(0, 1))(b, scale, eps)


@each_kink
@pytest.mark.parametrize("eps", [0, 0.0, 1e-8, 1e-5, jnp.zeros(()), jnp.array(1e-5)])
def test_no_derivative_is_nan_and_none_is_larger_than_a_quarter_of_the_width(
    kink, branches, eps
):
    del branches
    points = np.array(
        [[0, 0, 0], [1, 1, 1], [1, 1, 0], [1e7, -1e7, 1e7], [1e-8, 2e-8, 0]], float
    )
    seconds = jax.jit(jax.vmap(lambda b: all_second(kink, b, 1.0, eps)))(points)
    for leaf in jax.tree.leaves(seconds):
        assert np.all(np.isfinite(leaf))
    # |d^2| <= (sum of |db|)^2 / 4 width, and no branch has a slope above 2.
    bound = 0.0 if float(eps) == 0 else 4 / float(eps)
    assert np.max(np.abs(seconds[0][0])) <= bound


def test_a_vanishing_scale_does_no_harm():
    # Weights near zero: widths of 1e-205 and of zero.
    for scale in (0.0, 1e-200):
        second = all_second(relu, jnp.zeros(()), scale, EPS)
        assert not any(np.any(np.isnan(leaf)) for leaf in jax.tree.leaves(second))
        value, slope = jax.value_and_grad(relu)(1e-200, scale)
        assert (value, slope) == (1e-200, 1.0)


def test_second_derivatives_of_a_maximum_are_those_of_logsumexp():
    points = np.array([[0.1, 0.2, 0.15, -3.0, 0.2], [0, 0, 0, 0, 0], [9, 1, 1, 9, 9.0]])
    smooth = jax.jit(jax.vmap(jax.hessian(lambda b: maximum(b, 1.0, 0.1))))(points)
    gates = np.exp((points - points.max(1, keepdims=True)) / 0.1)
    gates /= gates.sum(1, keepdims=True)
    diagonal = gates[:, :, None] * np.eye(5)
    expected = (diagonal - gates[:, :, None] * gates[:, None, :]) / 0.1
    np.testing.assert_allclose(smooth, expected, rtol=1e-12, atol=1e-13)


def test_an_exact_kink_takes_the_side_of_its_first_branch():
    ties = np.array([[1.0, 2, 2, 0, 2], [0, 0, 0, 0, 0], [3, 1, 3, 1, 3]])
    gates = jax.vmap(jax.grad(lambda b: maximum(b, 1.0, 0.0)))(ties)
    assert np.array_equal(gates, np.eye(5)[np.argmax(ties, axis=1)])
    assert jax.grad(relu)(0.0, 1.0, 0.0) == 0
    assert jax.grad(leaky_relu)(0.0, 0.1, 1.0, 0.0) == 0.1
    assert jax.grad(absolute)(0.0, 1.0, 0.0) == -1


def test_any_axis_will_do():
    b = np.random.default_rng(1).normal(size=(2, 3, 4))
    for axis in (1, -1, -3):
        found = maximum(b, 1.0, 0.0, axis=axis)
        assert np.array_equal(found, np.max(b, axis=axis))
    assert np.array_equal(maximum(b[:1], axis=0), b[0])


# Radius and width


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3), st.integers(-300, 300))
def test_radius_is_the_norm_of_the_weights_alone(values, exponent):
    weights = np.array(values) * 10.0**exponent
    network = DeepLinear.from_weights([weights])
    network = {"inner": network, "eps": Fixed(jnp.ones(5)), "count": jnp.arange(3)}
    expected = math.hypot(*weights)
    assert math.isclose(radius(network), expected, rel_tol=1e-14, abs_tol=1e-322)


def test_radius_has_the_derivatives_of_a_norm():
    w = jnp.array([3.0, -4.0])
    np.testing.assert_allclose(jax.grad(radius)(w), [0.6, -0.8], rtol=1e-15)
    expected = [[0.128, 0.096], [0.096, 0.072]]
    np.testing.assert_allclose(jax.hessian(radius)(w), expected, rtol=1e-14)
    assert np.array_equal(jax.grad(radius)(jnp.zeros(2)), [0, 0])
    assert radius(()) == 0


def test_with_eps_changes_every_width_and_nothing_else():
    network = with_eps(twice(), 0.25)
    assert eqx.tree_equal(network, twice(0.25))
    assert eqx.tree_equal(with_eps(network, jnp.asarray(EPS)), twice())
    assert eqx.tree_equal(*map(_tree.parameters, (network, twice())))


def test_another_width_compiles_nothing():
    traces = []

    @eqx.filter_jit
    def output(network):
        traces.append(1)
        return network(X[0])

    found = [output(MLP(4, (5,), eps=eps, key=KEY)) for eps in (0.0, 1e-3, 0.5)]
    found += [output(with_eps(MLP(4, (5,), key=KEY), jnp.asarray(0.1)))]
    assert len(traces) == 1
    assert len({float(value) for value in found}) == 4


# Networks with kinks, each exactly homogeneous at any width

each_network = pytest.mark.parametrize("make", kinked.values(), ids=kinked.keys())


@each_network
@pytest.mark.parametrize("eps", [0.0, 1e-5, 0.3])
def test_networks_are_exactly_homogeneous_at_every_width(make, eps):
    network = make(eps)
    x = X[:, :4]
    found = gflow.degree(network, x)
    if hasattr(network, "degree"):
        assert found == network.degree

    @eqx.filter_jit
    def both(network, c):
        scaled = _tree.scale(network, c)
        push = lambda f: jax.vmap(f)(x)  # noqa: E731
        values, slopes = eqx.filter_jvp(push, (scaled,), (_tree.parameters(scaled),))
        return values / c**found, slopes / c**found

    at_one, _ = both(network, jnp.asarray(1.0))
    unit = np.max(np.abs(at_one))
    for c in (1e-20, 0.1, 3.0, 1e15):
        values, slopes = both(network, jnp.asarray(c))
        np.testing.assert_allclose(values, at_one, rtol=0, atol=1e-13 * unit)
        np.testing.assert_allclose(slopes, found * at_one, rtol=0, atol=1e-12 * unit)


@each_network
def test_the_error_of_a_network_is_of_first_order_in_the_width(make):
    network = _tree.normalize(make(0.0))
    outputs = eqx.filter_jit(lambda f: jax.vmap(f)(X[:, :4]))
    exact = outputs(network)
    errors = [
        np.max(np.abs(outputs(with_eps(network, jnp.asarray(eps))) - exact))
        for eps in (1e-3, 1e-5, 1e-7)
    ]
    # Kinks are no closer than 1e-5 here, or errors fall faster: at most linearly.
    assert errors[1] <= 0.02 * errors[0] + 1e-15
    assert errors[2] <= 0.02 * errors[1] + 1e-15
    assert errors[0] > 0


@each_network
def test_exact_derivatives_hold_no_nan(make):
    network = with_eps(make(1e-3), jnp.zeros(()))
    weights, rest = _tree.partition(network)

    @jax.jit
    def slopes(weights, x):
        def output(weights):
            return jnp.sum(eqx.combine(weights, rest)(x))

        return jax.jvp(jax.grad(output), (weights,), (weights,))

    for x in (X[0, :4], np.zeros(4)):
        for leaf in jax.tree.leaves(slopes(weights, x)):
            assert np.all(np.isfinite(leaf))


# Errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relu(1), "`u` must hold floats, but has int"),
        (lambda: relu(1.0, 1.0, -1e-5), "`eps` must be finite and .* but is -1e-05"),
        (lambda: relu(1.0, 1.0, math.nan), "`eps` must be .* but is nan"),
        (
            lambda: leaky_relu(1.0, math.inf),
            "`leak` must be a finite .* is inf",
        ),
        (
            lambda: leaky_relu(1.0, jnp.ones(())),
            "`leak` must be a finite Python",
        ),
        (lambda: maximum(jnp.ones((2, 0))), r"at least one branch .* shape \(2, 0\)"),
        (lambda: maximum(jnp.ones(2), axis=1), "`axis` is 1"),
        (lambda: with_eps(twice(), -1.0), r"`eps` must be .* but is -1\.0.* pass 0"),
        (lambda: with_eps(twice(), np.ones(2)), r"one number, but has shape \(2,\)"),
        (
            lambda: with_eps(DeepLinear(4, (), key=KEY), 0.0),
            "`network` must have a field `eps` that is a `gflow.nn.Fixed`",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_negative_width_is_refused_under_jit():
    with pytest.raises(Exception, match="`eps` must be finite and at least 0"):
        jax.block_until_ready(
            eqx.filter_jit(lambda eps: with_eps(MLP(4, (5,), key=KEY), eps)(X[0]))(
                jnp.asarray(-1.0)
            )
        )
