"""Gates of functions that are drawn, compiled anew, or captured by jit."""

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
from gflow._gates import find_kinks, frozen, kinks as gates_kinks, record
from hypothesis import given, settings, strategies as st
from jax.flatten_util import ravel_pytree


def flat(tree):
    return ravel_pytree(tree)[0]


def leaky(u):
    return jnp.where(u > 0, u, 0.1 * u)


LAYERS = {
    "relu": jax.nn.relu,
    "abs": jnp.abs,
    "leaky": leaky,
    "maxout": lambda u: jnp.repeat(jnp.max(u.reshape(2, 2), 1), 2),
    "clip": lambda u: jnp.clip(u, -1.0, 0.5),
    "elu": jax.nn.elu,
    "fold": lambda u: jnp.minimum(u, u[::-1] + 0.1),
    "square": lambda u: jnp.maximum(u, 0) ** 2 - u,
}


@settings(max_examples=6)
@given(
    names=st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_compositions_are_themselves(names, seed):
    keys = jr.split(jr.key(seed), len(names) + 2)
    weights = [jr.normal(key, (4, 4)) for key in keys[:-1]]
    x = jr.normal(keys[-1], (4,))

    def fn(weights, x):
        for name, matrix in zip(names, weights, strict=False):
            x = LAYERS[name](matrix @ x)
        return weights[-1] @ x

    kinks = find_kinks(fn, weights, x)
    out, gates, u = record(fn, kinks, weights, x)
    assert jnp.allclose(out, fn(weights, x))
    assert gates.shape == u.shape == (kinks.count,)
    smooth = jax.jacrev(lambda w: frozen(fn, kinks, gates, w, x)[0])(weights)
    assert jnp.allclose(flat(smooth), flat(jax.jacrev(fn)(weights, x)), atol=1e-12)
    assert jnp.array_equal(
        frozen(fn, kinks, gates.astype(float), weights, x)[0].round(12), out.round(12)
    )


def test_what_is_compiled_of_a_function_serves_other_weights():
    def fn(network, x):
        return jnp.abs(network[0] @ x) @ network[1]

    def weights(seed):
        return [jr.normal(jr.key(seed), shape) for shape in ((3, 4), (3,))]

    def number():
        return len(gates_kinks._TRIALS)

    before = number()
    found = find_kinks(fn, weights(0), jnp.ones(4))
    assert number() == before + 1
    assert find_kinks(fn, weights(1), jnp.arange(4.0)) == found
    assert number() == before + 1

    # Nor is a function taken for another one, whose rule has the same name.
    def with_slope(slope):
        @jax.custom_jvp
        def size(u):
            return jnp.sqrt(u * u)

        @size.defjvp
        def rule(primals, tangents):
            (u,), (v,) = primals, tangents
            return size(u), slope(u) * v

        return lambda network, x: size(jnp.maximum(network[0] @ x, 0.0)) @ network[1]

    ramp = find_kinks(with_slope(jnp.sign), weights(2), jnp.ones(4))
    flat = find_kinks(with_slope(jnp.zeros_like), weights(3), jnp.ones(4))
    assert ramp.count == 3
    assert flat.count == 0
    assert number() == before + 1


def joined_at_zero(left):
    """u where it is positive, and something else, whose slopes jit has captured."""
    slopes = jnp.asarray(left)

    @jax.jit
    def act(u):
        return jnp.where(u > 0, u, slopes * u - u**2)

    return act


@pytest.mark.parametrize("layers", [lambda act: act, lambda act: jax.jit(jax.jit(act))])
def test_what_jit_has_captured_is_no_other_constant(layers):
    """Functions of the same text: one is smooth at zero, and the others are not."""

    def found(left, seed):
        act = layers(joined_at_zero(left))
        weights = {"w": jr.normal(jr.key(seed), (3, 2))}
        x = jnp.array([0.4, -1.3])
        return find_kinks(lambda net, x: jnp.sum(act(net["w"] @ x)), weights, x)

    assert found([1.0, 1.0, 1.0], 0).count == 0
    assert found([0.1, 0.2, 0.3], 0).count == 3  # of the same weights
    assert found([0.5, 0.2, 0.3], 1).count == 3  # and of others
    assert found([1.0, 1.0, 1.0], 2).count == 0


def with_rule(slope_at_zero):
    """A square whose derivative is a rule of its own, right or wrong."""

    @jax.custom_jvp
    def square(u):
        return u * u

    @square.defjvp
    def rule(primals, tangents):
        (u,), (change,) = primals, tangents
        return square(u), (2 * u + slope_at_zero) * change

    return square


def test_rules_of_one_name_are_told_apart():
    network, x = jnp.array([[0.4, -0.3, 0.8], [0.2, 0.9, -0.5]]), jnp.array([1.0, 2, 3])
    for slope_at_zero in (0.0, 1.0, 0.0):
        square = with_rule(slope_at_zero)

        def fn(network, x, square=square):
            u = network @ x
            return jnp.sum(jnp.where(u > 0, square(u), 0.0))

        assert find_kinks(fn, network, x).gated == (slope_at_zero != 0,)


@pytest.mark.parametrize("power", [2.0, 2.5, 3.7])
@pytest.mark.parametrize("kind", [jax.nn.relu, jnp.abs, lambda u: jnp.maximum(0, u)])
def test_powers_of_relus_are_smooth(power, kind):
    def fn(network, x):
        return network[1] @ kind(network[0] @ x) ** power

    keys = jr.split(jr.key(1), 3)
    network = [jr.normal(keys[0], (5, 3)), jr.normal(keys[1], (5,))]
    assert find_kinks(fn, network, jr.normal(keys[2], (3,))).count == 0
