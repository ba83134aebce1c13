"""Gates of kinks: what is recorded, and what given ones do."""

# Wrong types are passed on purpose.
# pyright: reportArgumentType=false

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import _tree
from gflow.nn import (
    MLP,
    DeepLinear,
    absolute,
    max_pool,
    maximum,
    relu,
)
from gflow.nn._tape import with_gates
from hypothesis import given, strategies as st
from kinks import KEY, kinked


X = np.random.default_rng(0).normal(size=(7, 4))

each_network = pytest.mark.parametrize("make", kinked.values(), ids=kinked.keys())


def one_hot(branches):
    return [jax.nn.one_hot(jnp.argmax(b, axis=-1), b.shape[-1]) for b in branches]


@each_network
def test_gates_of_the_largest_branch_make_the_exact_network(make):
    network, exact = make(0.1), make(0.0)
    x = X[:, :4]

    @eqx.filter_jit
    def run(network, exact):
        plain, kinks = jax.vmap(lambda x: with_gates(exact, x))(x)
        branches = [kink.branches for kink in kinks]
        gates = one_hot(branches)

        def gated(weights):
            _, rest = _tree.partition(network)
            whole = eqx.combine(weights, rest)
            return jnp.sum(
                jax.vmap(lambda x, g: with_gates(whole, x, g)[0])(x, gates) ** 2
            )

        def direct(weights):
            _, rest = _tree.partition(exact)
            return jnp.sum(jax.vmap(eqx.combine(weights, rest))(x) ** 2)

        weights = _tree.parameters(network)
        both = [jax.value_and_grad(f)(weights) for f in (gated, direct)]
        return plain, jax.vmap(exact)(x), both, branches

    recorded, plain, (gated, direct), branches = run(network, exact)
    np.testing.assert_allclose(recorded, plain, rtol=1e-14, atol=1e-300)
    assert branches
    assert all(b.shape[0] == len(x) for b in branches)
    for a, b in zip(jax.tree.leaves(gated), jax.tree.leaves(direct), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@given(st.floats(0, 1), st.floats(-2, 2))
def test_a_gate_weighs_the_derivatives_of_branches(share, u):
    gates = [jnp.array([1 - share, share])]
    run = lambda u: with_gates(lambda v: absolute(v) * 3, u, gates)[0]  # noqa: E731
    value, slope = jax.value_and_grad(run)(u)
    assert value == pytest.approx(3 * abs(u), rel=1e-15, abs=1e-300)
    assert slope == pytest.approx(3 * (2 * share - 1), rel=1e-14, abs=1e-15)


def test_gates_are_constants_of_differentiation():
    slope = jax.grad(lambda g: with_gates(relu, 2.0, [g])[0])(jnp.array([0.25, 0.75]))
    assert np.array_equal(slope, [0, 0])


@pytest.mark.parametrize("bent", [lambda u: u, lambda u: u**3], ids=["plain", "cubed"])
def test_derivatives_have_degree_one_in_the_gates(bent):
    # Whatever smooth functions stand between kinks, and off the kinks too.
    def slope(gates):
        net = lambda u: relu(bent(absolute(u)))  # noqa: E731
        return float(jax.grad(lambda u: with_gates(net, u, gates)[0])(0.7))

    first = [jnp.array([0.2, 0.8]), jnp.array([1.0, 0.5])]
    second = [first[0], jnp.array([-0.3, 0.1])]
    middle = [first[0], (first[1] + second[1]) / 2]
    assert slope(middle) == pytest.approx((slope(first) + slope(second)) / 2, rel=1e-14)


def test_widths_are_recorded():
    network = lambda x: jnp.sum(relu(x, 3.0, 1e-2)) + maximum(x, eps=0.0)  # noqa: E731
    _, kinks = with_gates(network, X[0])
    assert [(float(kink.scale), float(kink.eps)) for kink in kinks] == [
        (3.0, 1e-2),
        (1.0, 0.0),
    ]


def test_branches_stand_in_the_order_of_the_calls_and_along_the_last_axis():
    def network(x):
        pooled = max_pool(x.reshape(1, 2, 2))
        return pooled[0, 0, 0] + jnp.sum(relu(x)) + maximum(x, axis=0)

    _, kinks = with_gates(network, X[0])
    first, second, third = (kink.branches for kink in kinks)
    assert np.array_equal(first, X[0].reshape(1, 1, 1, 4))
    assert np.array_equal(second, np.stack([0 * X[0], X[0]], axis=-1))
    assert np.array_equal(third, X[0])


def test_networks_without_kinks_have_no_gates():
    for network in (DeepLinear(4, (3,), key=KEY), MLP(4, (3,), power=2, key=KEY)):
        output, kinks = with_gates(network, X[0], [])
        assert kinks == []
        np.testing.assert_allclose(output, network(X[0]), rtol=1e-14)


INNER = MLP(4, (5,), key=KEY)
HIDING = {
    "vmap": lambda x: jnp.sum(jax.vmap(INNER)(jnp.stack([x, x]))),
    "grad": lambda x: jnp.sum(jax.grad(INNER)(x)),
    "cond": lambda x: jax.lax.cond(
        x[0] > 0, lambda x: INNER(x), lambda x: -INNER(x), x
    ),
    "checkpoint": jax.checkpoint(lambda x: INNER(x)),
}
CALLS = {
    "plainly": lambda f: f(X[0]),
    "under jit": lambda f: jax.jit(f)(X[0]),
    "under vmap": lambda f: jax.vmap(f)(X),
    "under jvp": lambda f: jax.jvp(f, (X[0],), (X[0],)),
}


@pytest.mark.parametrize("network", HIDING.values(), ids=HIDING.keys())
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_kinks_under_a_transformation_are_refused(network, call):
    network(X[0])  # what JAX remembers of a traced function must not hide its kinks
    with pytest.raises(ValueError, match=r"`network` must call its kinks outside of"):
        call(lambda x: with_gates(network, x)[0])


@pytest.mark.parametrize(
    "network",
    [
        jax.jit(lambda x: INNER(x)),
        lambda x: jax.lax.scan(lambda c, _: (relu(c + x), None), x, None, 2)[0],
    ],
    ids=["jit", "scan"],
)
def test_jitted_functions_and_scans_show_their_kinks(network):
    expected = network(X[0])
    for wrap in (lambda f: f, jax.jit):
        output, kinks = wrap(lambda x: with_gates(network, x))(X[0])
        np.testing.assert_allclose(output, expected, rtol=1e-13)
        assert [kink.branches.shape for kink in kinks] in ([(5, 2)], [(4, 2), (4, 2)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: with_gates(relu, 1.0, []),
            "`gates` must hold one array for each kink, but holds 0",
        ),
        (
            lambda: with_gates(relu, 1.0, [np.ones(2), np.ones(2)]),
            "for each of the 1 kinks, but holds 2",
        ),
        (
            lambda: with_gates(relu, 1.0, [np.ones(3)]),
            r"`gates\[0\]` must have the shape of its branches, \(2,\), .* \(3,\)",
        ),
    ],
)
def test_gates_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
