"""Any JAX function as a smooth function of its weights at frozen gates."""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gflow import _tree
from gflow._gates import find_kinks, frozen, record


class Net(eqx.Module):
    """Two layers with something between, and several outputs."""

    first: jax.Array
    second: jax.Array
    act: Callable = eqx.field(static=True)

    def __call__(self, x):
        return self.second @ self.act(self.first @ x)


class ConvNet(eqx.Module):
    conv: eqx.nn.Conv2d
    pool: eqx.nn.MaxPool2d | eqx.nn.AvgPool2d
    head: eqx.nn.Linear

    def __call__(self, x):
        x = self.pool(jax.nn.relu(self.conv(jnp.reshape(x, (1, 6, 6)))))
        return self.head(jnp.ravel(x))


class Normed(eqx.Module):
    layer: eqx.nn.WeightNorm
    norm: eqx.nn.LayerNorm | eqx.nn.RMSNorm
    head: jax.Array

    def __call__(self, x):
        return self.head @ jax.nn.relu(self.norm(self.layer(x)))


WIDTH, SIZE, OUTPUTS, SAMPLES = 6, 36, 2, 20
KEYS = jr.split(jr.key(0), 9)
X = jr.normal(KEYS[0], (SAMPLES, SIZE))


def net(act):
    probe = jax.eval_shape(act, jnp.ones(WIDTH))
    first = jr.normal(KEYS[1], (WIDTH, SIZE)) / 6
    return Net(first, jr.normal(KEYS[2], (OUTPUTS, probe.shape[0])), act)


def call(network, x):
    return network(x)


def conv(pool, outputs):
    first = eqx.nn.Conv2d(1, 2, 3, key=KEYS[3])
    return ConvNet(first, pool, eqx.nn.Linear(outputs, OUTPUTS, key=KEYS[4]))


def normed(norm):
    layer = eqx.nn.WeightNorm(eqx.nn.Linear(SIZE, WIDTH, key=KEYS[3]))
    return Normed(layer, norm, jr.normal(KEYS[5], (OUTPUTS, WIDTH)))


def normalized(u):
    length = jnp.linalg.norm(u)
    return jnp.maximum(u, 0.3 * u) / jnp.where(length == 0, 1.0, length)


@jax.custom_jvp
def own_rule(u):
    return jnp.maximum(u, 0.2 * u)


own_rule.defjvp(lambda u, v: (own_rule(*u), v[0] * jnp.where(u[0] > 0, 1.0, 0.2)))

# Each with its number of kinks.
CASES = {
    "relu": (net(jax.nn.relu), WIDTH),
    "zero first": (net(lambda u: jnp.maximum(0.0, u)), WIDTH),
    "leaky relu": (net(jax.nn.leaky_relu), WIDTH),
    "at most": (net(lambda u: jnp.where(u <= 0, 0.1 * u, u)), WIDTH),
    "relu6": (net(jax.nn.relu6), 2 * WIDTH),
    "selu": (net(jax.nn.selu), WIDTH),
    "hard tanh": (net(jax.nn.hard_tanh), 2 * WIDTH),
    "abs": (net(jnp.abs), WIDTH),
    "sign": (net(lambda u: u * jnp.sign(u)), WIDTH),
    "a number of a comparison": (net(lambda u: (u > 0) * u), WIDTH),
    "clip": (net(lambda u: jnp.clip(u, -0.3, 0.5)), 2 * WIDTH),
    "clamp": (net(lambda u: jax.lax.clamp(-0.3, u, 0.5)), 2 * WIDTH),
    "minimum": (net(lambda u: jnp.minimum(u, 0.1)), WIDTH),
    "both": (
        net(lambda u: jnp.where((u > 0) & ~(u >= 0.5), u, jnp.clip(u, 0, 0.5))),
        2 * WIDTH + 2 * WIDTH - 1 * WIDTH,
    ),
    "two of one u": (net(lambda u: jnp.maximum(u, 0.0) + jnp.abs(u)), WIDTH),
    "maxout": (net(lambda u: jnp.max(u.reshape(2, 3), axis=1)), 4),
    "minout": (net(lambda u: jnp.min(u.reshape(2, 3), axis=0)), 3),
    "all": (net(lambda u: jnp.max(u.reshape(2, 3))[None]), 5),
    "softmax": (net(jax.nn.softmax), 0),
    "logsumexp": (net(lambda u: jax.nn.logsumexp(jax.nn.relu(u))[None]), WIDTH),
    "softplus": (net(jax.nn.softplus), 0),
    "gelu": (net(jax.nn.gelu), 0),
    "silu": (net(jax.nn.silu), 0),
    "normalized": (net(normalized), WIDTH),
    "checkpoint": (net(jax.checkpoint(jax.nn.relu)), WIDTH),
    "a rule of its own": (net(own_rule), WIDTH),
    "no kink in a loop": (
        net(lambda u: jax.lax.fori_loop(0, 3, lambda i, v: jnp.sin(v) + i, u)),
        0,
    ),
    "no kink of weights in a loop": (
        net(
            lambda u: jax.lax.scan(
                lambda c, ux: (jax.nn.softmax(c) + ux[0] * jnp.abs(ux[1]), c),
                u,
                (jnp.stack([u, u]), X[:2, :WIDTH]),
            )[0]
        ),
        0,
    ),
    "relu squared": (net(lambda u: jax.nn.relu(u) ** 2), 0),
    "relu times itself": (net(lambda u: jax.nn.relu(u) * jax.nn.relu(u)), 0),
    "u relu": (net(lambda u: u * jax.nn.relu(u)), 0),
    "max squared": (net(lambda u: jnp.maximum(u, u[::-1] + 1) ** 2), WIDTH),
    "elu": (net(jax.nn.elu), 0),
    "celu": (net(jax.nn.celu), 0),
    "joined": (net(lambda u: jnp.where(u > 0, u**2, 0)), 0),
    "two parabolas": (net(lambda u: jnp.where(u > 0, 1.0, 0.5) * u**2), 0),
    "mlp": (
        eqx.nn.MLP(SIZE, OUTPUTS, WIDTH, 2, activation=jax.nn.relu, key=KEYS[6]),
        2 * WIDTH,
    ),
    "max pool": (conv(eqx.nn.MaxPool2d(2, 2), 8), 32 + 2 * 4 * 3),
    "padded pool": (
        conv(eqx.nn.MaxPool2d(3, 2, padding=1), 8),
        32 + 2 * (3 + 5 + 5 + 8),
    ),
    "average pool": (conv(eqx.nn.AvgPool2d(2, 2), 8), 32),
    "layer norm": (normed(eqx.nn.LayerNorm(WIDTH)), WIDTH),
    "rms norm": (normed(eqx.nn.RMSNorm(WIDTH)), WIDTH),
}
FOUND = {name: find_kinks(call, network, X[0]) for name, (network, _) in CASES.items()}
each_case = pytest.mark.parametrize("name", CASES)
# The jaxprs of the others are of the same kinds.
SOME = (
    *("relu", "at most", "selu", "a number of a comparison", "clamp", "minimum"),
    *("both", "two of one u", "maxout", "max squared", "mlp", "padded pool"),
)
each_kinked = pytest.mark.parametrize("name", SOME)


def moved(network, size, key=KEYS[7]):
    weights, rest = _tree.partition(network)
    leaves, structure = jax.tree.flatten(weights)
    keys = jr.split(key, len(leaves))
    moves = [jr.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)]
    far = [a + size * b for a, b in zip(leaves, moves, strict=True)]
    return eqx.combine(jax.tree.unflatten(structure, far), rest)


def flat(tree):
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@each_case
def test_kinks_are_counted(name):
    assert FOUND[name].count == CASES[name][1]


def test_kinks_are_hashable_and_the_same_each_time():
    again = find_kinks(call, CASES["leaky relu"][0], X[1])
    assert again == FOUND["leaky relu"]
    assert hash(again) == hash(FOUND["leaky relu"])


@each_case
def test_at_its_own_gates_a_function_is_itself(name):
    network, kinks = CASES[name][0], FOUND[name]

    def slopes(run, gates):
        def total(network):
            out, u = jax.vmap(lambda g, x: run(g, network, x))(gates, X)
            return jnp.sum(jnp.sin(out)), (out, u)

        return eqx.filter_value_and_grad(total, has_aux=True)(network)

    @eqx.filter_jit
    def everything():
        out, gates, u = jax.vmap(lambda x: record(call, kinks, network, x))(X)
        (_, (true, _)), slope = slopes(lambda g, n, x: (n(x), g), gates)
        kinds = [gates, gates.astype(float)] if name in SOME else [gates]
        ours = [slopes(partial(frozen, call, kinks), kind) for kind in kinds]
        return out, gates, u, true, slope, ours

    out, gates, u, true, slope, ours = everything()
    assert gates.dtype == bool
    assert gates.shape == u.shape == (SAMPLES, kinks.count)
    assert jnp.array_equal(gates, u > 0)
    assert jnp.allclose(out, true, rtol=1e-13, atol=1e-13)
    for (_, (same, again)), gradient in ours:
        assert jnp.allclose(same, true, rtol=1e-13, atol=1e-13)
        assert jnp.allclose(again, u, rtol=1e-13, atol=1e-13)
        assert jnp.allclose(flat(gradient), flat(slope), rtol=1e-11, atol=1e-11)


@each_kinked
def test_away_from_its_gates_it_goes_on_smoothly(name):
    network, kinks = CASES[name][0], FOUND[name]
    _, gates, _ = record(call, kinks, network, X[0])
    weights, rest = _tree.partition(network)
    move = jax.tree.map(jnp.subtract, _tree.parameters(moved(network, 1.0)), weights)

    def at(t):
        here = jax.tree.map(lambda a, b: a + t * b, weights, move)
        return eqx.combine(here, rest)

    @jax.jit
    @jax.vmap
    def along(t):
        here = at(t)
        return here(X[0]), frozen(call, kinks, gates, here, X[0])

    plain, (out, u) = along(jnp.linspace(0, 0.5, 201))
    wrong = jnp.any((u > 0) != gates[None], axis=1)
    agrees = jnp.all(jnp.abs(out - plain) < 1e-11, axis=1)
    first = int(jnp.argmax(wrong)) if wrong.any() else len(wrong)
    assert jnp.all(agrees[:first])
    assert first == len(wrong) or not jnp.array_equal(gates, u[first] > 0)
    # Fourth differences of a smooth function are small.
    assert jnp.max(jnp.abs(jnp.diff(out, 4, axis=0))) < 1e-3


@pytest.mark.parametrize("name", ["relu", "leaky relu", "maxout"])
def test_a_derivative_in_a_gate_is_what_it_changes(name):
    network, kinks = CASES[name][0], FOUND[name]
    network = moved(network, 0.1)
    _, gates, _ = record(call, kinks, network, X[0])
    weights, rest = _tree.partition(network)

    def value(gates, weights):
        return frozen(call, kinks, gates, eqx.combine(weights, rest), X[0])[0]

    def gradient(gates):
        out, back = jax.vjp(lambda w: value(gates, w), weights)
        return jnp.concatenate([out, flat(back(jnp.ones(OUTPUTS)))])

    def ends(kink):
        off, on = gates.at[kink].set(False), gates.at[kink].set(True)
        return gradient(on) - gradient(off)

    # Both are linear in each gate, so the derivative is the difference.
    slope = jax.jit(jax.jacfwd(gradient))(gates.astype(float))
    changes = jax.jit(jax.vmap(ends, out_axes=1))(jnp.arange(kinks.count))
    assert jnp.allclose(slope, changes, rtol=1e-11, atol=1e-11)
    assert jnp.max(jnp.abs(changes)) > 1e-3
    # The other order of derivatives.
    back = jax.jacrev(lambda g: value(g, weights))(gates.astype(float))
    assert jnp.allclose(back, changes[:OUTPUTS], rtol=1e-11, atol=1e-11)


def scanned(u):
    return jax.lax.scan(lambda c, v: (jnp.maximum(c, v), c), u[0], u)[1]


REFUSED = {
    "argmax": lambda u: u[jnp.argmax(u)][None],
    "sort": jnp.sort,
    "top_k": lambda u: jax.lax.top_k(u, 2)[0],
    "cummax": jax.lax.cummax,
    "floor": jnp.floor,
    "round": lambda u: u * jnp.round(u),
    "A kink inside `scan`.*unroll": scanned,
    "A kink inside `while`": lambda u: jax.lax.while_loop(
        lambda v: jnp.sum(v) < 9.0, lambda v: jnp.abs(v) + 1, u
    ),
    "A kink inside `cond`": lambda u: jax.lax.cond(X[0, 0] > 0, jnp.abs, jnp.sin, u),
    "jumps where the two sides of `gt`": lambda u: jnp.where(u > 0, u + 1, u),
    "jumps where the two sides of `sign`": jnp.sign,
    "jumps where the two sides of `ge`": lambda u: jnp.where(u >= 0.1, u, 0.0),
    "goes into `convert_element_type` to int": lambda u: u * (u > 0).astype(int),
    "must be finite.*`jnp.inf`": lambda u: jnp.max(
        jnp.where(jnp.arange(WIDTH) < 3, u, -jnp.inf), keepdims=True
    ),
    "goes into `reduce_and`": lambda u: jnp.where(
        jnp.all(u > 0), jnp.minimum(jnp.min(u), 1.0), 0.0
    )[None],
    "inside of a `stop_gradient`": lambda u: (
        u * jax.lax.stop_gradient((u > 0).astype(float))
    ),
    "`eq` of .* what they are clipped to": lambda u: jnp.where(
        jnp.maximum(u, 0) == 0, 0.1 * u, u
    ),
    "`ne` of .* what they are clipped to": lambda u: jnp.where(jax.nn.relu(u), u, -u),
    "`ne` .*Compare before": lambda u: u * jnp.count_nonzero(jax.nn.relu(u)),
    "bitcast_convert_type": lambda u: jnp.where(jnp.signbit(u), 0.1 * u, u),
    "scatter-max.*Write it with": lambda u: jnp.zeros(2).at[0].max(u[0]),
    "1.5.* a power of a ReLU": lambda u: jax.nn.relu(u) ** 1.5,
}


@pytest.mark.parametrize("match", REFUSED)
def test_what_cannot_be_frozen_is_refused(match):
    with pytest.raises(ValueError, match=match):
        find_kinks(call, net(REFUSED[match]), X[0])


def test_what_does_not_depend_on_the_weights_is_no_kink():
    def fn(network, x):
        x = jnp.sort(jax.nn.relu(jnp.where(x > 1, x, jnp.floor(x))))
        return network.second @ jnp.tanh(network.first @ x)

    assert find_kinks(fn, net(jax.nn.relu), X[0]).count == 0
    fixed = eqx.tree_at(lambda n: n.first, net(jnp.abs), replace_fn=gflow.nn.Fixed)

    def of_fixed(network, x):
        return network.second @ jnp.abs(network.first.value @ x)

    assert find_kinks(of_fixed, fixed, X[0]).count == 0


def test_stopped_values_still_move_with_the_weights():
    def act(u):
        return jnp.maximum(u, jax.lax.stop_gradient(u[::-1]))

    assert find_kinks(call, net(act), X[0]).count == WIDTH


def test_ties_take_the_second():
    network = net(lambda u: jnp.max(u.reshape(2, 3), axis=1))
    network = eqx.tree_at(lambda n: n.first, network, jnp.ones((WIDTH, SIZE)))
    kinks = find_kinks(call, network, X[0])
    out, gates, u = record(call, kinks, network, X[0])
    assert jnp.array_equal(out, network(X[0]))
    assert not jnp.any(gates)
    assert not jnp.any(u)


def test_a_dead_pool_is_evaluated():
    network = CASES["padded pool"][0]
    dead = eqx.tree_at(lambda n: n.conv.bias, network, jnp.full((2, 1, 1), -99.0))
    out, gates, u = record(call, FOUND["padded pool"], dead, X[0])
    assert jnp.allclose(out, dead(X[0]))
    assert not jnp.any(gates)
    assert np.all(np.isfinite(u))


def test_kinks_of_another_function_are_refused():
    with pytest.raises(ValueError, match=r"`kinks` must be those of `fn`.*2 groups"):
        record(call, FOUND["relu"], net(lambda u: jnp.abs(jnp.abs(u - 1) - 2)), X[0])
    with pytest.raises(ValueError, match=r"`kinks` must be those of `fn`.*shapes"):
        record(call, FOUND["maxout"], CASES["relu"][0], X[0])


def test_networks_and_gates_can_be_batched():
    network, kinks = CASES["relu"][0], FOUND["relu"]
    some = jax.tree.map(lambda a: jnp.stack([a, -a]), network)
    out, gates, _ = eqx.filter_vmap(lambda n: record(call, kinks, n, X[0]))(some)
    assert jnp.allclose(out, eqx.filter_vmap(lambda n: n(X[0]))(some))
    again, _ = jax.vmap(lambda g: frozen(call, kinks, g, network, X[0]))(gates)
    assert jnp.allclose(again[0], out[0])
