"""Networks with kinks: how many they have, and that they stay homogeneous."""

import math

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import _tree
from gflow._gates import find_kinks
from gflow.nn import DeepLinear, Fixed, radius
from hypothesis import given, strategies as st
from kinks import joined, kinked


X = np.random.default_rng(0).normal(size=(7, 4))
KINKED = {name: make for name, (make, _) in kinked.items()}
each_network = pytest.mark.parametrize("make", KINKED.values(), ids=KINKED.keys())


def count(network):
    return find_kinks(lambda net, x: net(x), network, X[0]).count


@pytest.mark.parametrize(("make", "number"), kinked.values(), ids=kinked.keys())
def test_every_kink_of_our_networks_is_found_and_no_other(make, number):
    assert count(make()) == number


@pytest.mark.parametrize("make", joined.values(), ids=joined.keys())
def test_powers_above_one_are_no_kinks(make):
    assert count(make()) == 0


@each_network
def test_networks_with_kinks_are_homogeneous(make):
    network = make()
    found = gflow.degree(network, X)
    if hasattr(network, "degree"):
        assert found == network.degree

    @eqx.filter_jit
    def both(network, c):
        scaled = _tree.scale(network, c)
        push = lambda f: jax.vmap(f)(X)  # noqa: E731
        values, slopes = eqx.filter_jvp(push, (scaled,), (_tree.parameters(scaled),))
        return values / c**found, slopes / c**found

    at_one, _ = both(network, jnp.asarray(1.0))
    unit = np.max(np.abs(at_one))
    for c in (1e-20, 0.1, 3.0, 1e15):
        values, slopes = both(network, jnp.asarray(c))
        np.testing.assert_allclose(values, at_one, rtol=0, atol=1e-13 * unit)
        np.testing.assert_allclose(slopes, found * at_one, rtol=0, atol=1e-12 * unit)


@each_network
def test_derivatives_on_kinks_hold_no_nan(make):
    weights, rest = _tree.partition(make())

    @jax.jit
    def slopes(weights, x):
        def output(weights):
            return jnp.sum(eqx.combine(weights, rest)(x))

        return jax.jvp(jax.grad(output), (weights,), (weights,))

    for x in (X[0], np.zeros(4)):
        for leaf in jax.tree.leaves(slopes(weights, x)):
            assert np.all(np.isfinite(leaf))


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3), st.integers(-300, 300))
def test_radius_is_the_norm_of_the_weights_alone(values, exponent):
    weights = np.array(values) * 10.0**exponent
    network = DeepLinear.from_weights([weights])
    network = {"inner": network, "still": Fixed(jnp.ones(5)), "count": jnp.arange(3)}
    expected = math.hypot(*weights)
    least = 2 * np.finfo(float).tiny  # XLA may take subnormal numbers for zero
    assert math.isclose(radius(network), expected, rel_tol=1e-14, abs_tol=least)


def test_radius_has_the_derivatives_of_a_norm():
    w = jnp.array([3.0, -4.0])
    np.testing.assert_allclose(jax.grad(radius)(w), [0.6, -0.8], rtol=1e-15)
    expected = [[0.128, 0.096], [0.096, 0.072]]
    np.testing.assert_allclose(jax.hessian(radius)(w), expected, rtol=1e-14)
    assert np.array_equal(jax.grad(radius)(jnp.zeros(2)), [0, 0])
    assert radius(()) == 0
