from collections.abc import Callable
from typing import Literal

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array
from problems import IN_SIZE, KEY, networks


X = np.random.default_rng(0).normal(size=(20, IN_SIZE))
RELU = jax.nn.relu


@pytest.mark.parametrize("make", networks.values(), ids=networks.keys())
def test_degree_found_is_the_degree_declared(make):
    network = make()
    found = gflow.degree(network, X)
    assert isinstance(found, float)
    assert found == pytest.approx(network.degree, rel=1e-13, abs=0)


def equinox_mlp(
    activation: Callable = RELU,
    bias: bool = False,
    final_bias: bool = False,
    out_size: int | Literal["scalar"] = "scalar",
):
    return eqx.nn.MLP(
        *(IN_SIZE, out_size, 4, 2, activation),
        use_bias=bias,
        use_final_bias=final_bias,
        key=KEY,
    )


@jax.custom_vjp
def reverse_only(u):
    return RELU(u)


reverse_only.defvjp(lambda u: (RELU(u), u > 0), lambda gate, grad: (grad * gate,))


class Mixed(eqx.Module):
    """Leaves of all kinds: only `inner` and `outer` are weights."""

    inner: Array
    outer: Array
    order: Array  # integers
    mask: np.ndarray  # booleans
    gain: float
    activation: Callable
    name: str
    power: int = eqx.field(static=True)
    forward: Callable = eqx.field(static=True)
    none: None = None

    def __call__(self, x):
        hidden = self.activation(self.inner @ x[self.order]) ** self.power
        return self.gain * self.outer @ jnp.where(self.mask, hidden, 0.0)


def mixed():
    inner, outer = jr.normal(KEY, (4, IN_SIZE)), jr.normal(KEY, (4,))
    order, mask = jnp.array([2, 0, 1]), np.array([True, True, False, True])
    return Mixed(inner, outer, order, mask, 0.3, RELU, "mixed", 2, jnp.sin)


class TwoWeights(eqx.Module):
    """A function of two scalar weights, which may be anything."""

    fn: Callable = eqx.field(static=True)
    a: Array = eqx.field(default_factory=lambda: jnp.array(0.7))
    b: Array = eqx.field(default_factory=lambda: jnp.array(-0.4))

    def __call__(self, x):
        return self.fn(self.a, self.b, x[0])


class Convolution(eqx.Module):
    """A convolution, pooling and a read-out, on images that are rows of X."""

    convolution: eqx.nn.Conv1d
    pool: eqx.nn.MaxPool1d
    readout: eqx.nn.Linear

    def __init__(self):
        self.convolution = eqx.nn.Conv1d(1, 2, 2, use_bias=False, key=KEY)
        self.pool = eqx.nn.MaxPool1d(2)
        self.readout = eqx.nn.Linear(2, "scalar", use_bias=False, key=KEY)

    def __call__(self, x):
        return self.readout(self.pool(RELU(self.convolution(x[None])))[:, 0])


class FirstLayerBias(eqx.Module):
    """Homogeneous, with a bias: weights and bias of one layer scale together."""

    inner: eqx.nn.Linear
    outer: Array

    def __call__(self, x):
        return self.outer @ RELU(self.inner(x))


USERS = {
    "equinox, no bias": (equinox_mlp, 3),
    "equinox, logits": (lambda: equinox_mlp(out_size=3), 3),
    "leaves of all kinds": (mixed, 3),
    "reverse derivative only": (lambda: equinox_mlp(reverse_only), 3),
    "bias of the first layer": (
        lambda: FirstLayerBias(eqx.nn.Linear(IN_SIZE, 4, key=KEY), jnp.ones(4)),
        2,
    ),
    "convolution": (Convolution, 2),
    "square root": (lambda: TwoWeights(lambda a, b, x: jnp.sqrt(jnp.abs(a)) * x), 0.5),
    "quotient": (lambda: TwoWeights(lambda a, b, x: x * a**3 / jnp.hypot(a, b)), 2),
    "one neuron, often dead": (lambda: gflow.nn.MLP(IN_SIZE, (1,), key=KEY), 2),
}


@pytest.mark.parametrize(("make", "expected"), USERS.values(), ids=USERS.keys())
def test_degree_of_a_users_module(make, expected):
    assert gflow.degree(make(), X) == expected


@pytest.mark.parametrize("factor", [1e-300, 1e-100, 1e100])
def test_degree_does_not_depend_on_the_radius(factor):
    network = jax.tree.map(lambda leaf: factor * leaf, networks["squared relu"]())
    assert gflow.degree(network, X) == 3


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_degree_does_not_depend_on_the_size_of_the_data(factor):
    assert gflow.degree(networks["degree 121"](), factor**0.125 * X) == 121
    assert gflow.degree(networks["squared relu"](), factor * X) == 3


def test_one_sample_and_features_of_any_shape_will_do():
    network = eqx.nn.Sequential([eqx.nn.Lambda(jnp.ravel), networks["relu"]()])
    assert gflow.degree(network, X[:1, None, :]) == 2


def test_a_zero_last_layer_has_the_degree_of_any_other():
    network = networks["relu"]()
    zeros = jnp.zeros_like(network.weights[-1])
    assert gflow.degree(eqx.tree_at(lambda f: f.weights[-1], network, zeros), X) == 2


TRACES = []


class Traced(eqx.Module):
    weight: Array

    def __call__(self, x):
        TRACES.append("one")
        return self.weight @ x


def test_a_network_is_traced_once():
    for value in (1.0, 2.0, 3.0):
        gflow.degree(Traced(value * jnp.ones(IN_SIZE)), value * X)
    assert len(TRACES) == 1


# Errors

NOT_HOMOGENEOUS = {
    "bias": lambda: equinox_mlp(bias=True),
    "final bias": lambda: equinox_mlp(final_bias=True),
    "softplus": lambda: equinox_mlp(jax.nn.softplus),
    "gelu": lambda: equinox_mlp(jax.nn.gelu),
    "tanh": lambda: equinox_mlp(jnp.tanh),
    "a clip far out": lambda: equinox_mlp(lambda u: jnp.clip(u, -100.0, 100.0)),
    "an epsilon": lambda: equinox_mlp(lambda u: jnp.sqrt(u**2 + 1e-8)),
    "an added constant": lambda: TwoWeights(lambda a, b, x: a * x + 1e-6),
    "two degrees": lambda: TwoWeights(lambda a, b, x: a * x + a * b * x),
    "a threshold": lambda: TwoWeights(lambda a, b, x: RELU(jnp.abs(a) - 2.0) * x),
    "overflow": lambda: TwoWeights(lambda a, b, x: jnp.exp(a**2) * x),
}


@pytest.mark.parametrize("make", NOT_HOMOGENEOUS.values(), ids=NOT_HOMOGENEOUS.keys())
def test_a_network_of_no_degree_is_refused(make):
    message = (
        r"must be positively homogeneous.*best degree, \S+, misses .* at c = \S+ by "
        r"\S+ of its size \(sample \d+, (its own|random) weights\)\. Remove biases"
    )
    with pytest.raises(ValueError, match=message):
        gflow.degree(make(), X)


def test_a_bias_that_starts_at_zero_is_seen():
    network = equinox_mlp(final_bias=True)
    network = eqx.tree_at(lambda f: f.layers[-1].bias, network, jnp.zeros(()))
    with pytest.raises(ValueError, match="must be positively homogeneous"):
        gflow.degree(network, X)


def stopped(a, b, x):
    return a * jax.lax.stop_gradient(b) * x


REFUSED = {
    "stop_gradient": (
        lambda: TwoWeights(stopped),
        r"Euler's identity.*degree L = 2 while <w, df/dw> = 1 f .*`stop_gradient`",
    ),
    "no growth": (
        lambda: TwoWeights(lambda a, b, x: a / jnp.hypot(a, b) * x),
        r"must have a positive degree, but has degree \S*0",
    ),
    "negative degree": (
        lambda: TwoWeights(lambda a, b, x: x / a),
        r"must have a positive degree, but has degree -1",
    ),
    "not callable": (lambda: jnp.ones(3), r"`network` must be callable"),
    "no weights": (lambda: eqx.nn.Lambda(jnp.sum), r"must have weights, but holds no"),
    "zero output": (
        lambda: TwoWeights(lambda a, b, x: 0 * a),
        r"must not be zero on every sample",
    ),
    "NaN output": (
        lambda: TwoWeights(lambda a, b, x: jnp.sqrt(-(a**2)) * x),
        r"must have finite outputs .* its largest is nan at its own weights",
    ),
    "NaN derivative": (
        lambda: TwoWeights(lambda a, b, x: a * x + jnp.sqrt(0 * b)),
        r"Euler's identity.*= nan f.*0/0 in a derivative",
    ),
    "one logit": (
        lambda: equinox_mlp(out_size=1),
        r"to two or more logits.* \(3,\) to float64\[1\].*return `output\[0\]`",
    ),
    "a matrix": (
        lambda: TwoWeights(lambda a, b, x: a * jnp.ones((2, 2))),
        r"must map one input to a scalar.* to float64\[2, 2\]",
    ),
    "a tuple": (
        lambda: TwoWeights(lambda a, b, x: (a, b)),
        r"must map one input to a scalar.* to \('float64\[\]', 'float64\[\]'\)",
    ),
    "float32 output": (
        lambda: TwoWeights(lambda a, b, x: (a * x).astype("float32")),
        r"must map one input to a scalar.* in float64, .* to float32\[\]",
    ),
    "float32 weights": (
        lambda: TwoWeights(stopped, b=jnp.ones((), "float32")),
        r"`network\.b` must be float64, but is float32.*jax_enable_x64",
    ),
    "NaN weights": (
        lambda: TwoWeights(stopped, b=jnp.array(jnp.nan)),
        r"`network\.b` must be finite",
    ),
    "zero weights": (
        lambda: TwoWeights(stopped, a=jnp.zeros(()), b=jnp.zeros(())),
        r"must have a nonzero weight.*small start",
    ),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_network_out_of_reach_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        gflow.degree(make(), X)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[0], r"`x` must have shape \(samples, features\).*pass `x\[None\]`"),
        (X[:0], r"`x` must have shape \(samples, features\), samples >= 1"),
        (X.astype("float32"), r"`x` must be float64"),
        (X * np.nan, r"`x` must be finite"),
    ],
)
def test_bad_inputs_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        gflow.degree(networks["relu"](), x)


def test_thirty_two_bits_are_refused():
    with (
        jax.enable_x64(False),
        pytest.raises(ValueError, match="gflow needs 64-bit floats"),
    ):
        gflow.degree(networks["relu"](), X)
