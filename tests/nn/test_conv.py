"""Convolution, pooling, and networks that are smooth and of no degree."""

# Wrong types are passed on purpose.
# pyright: reportArgumentType=false
import math

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gflow import _tree
from gflow.nn import (
    Conv2d,
    ConvNet,
    DenseNet,
    SmoothMLP,
    avg_pool,
    leaky_silu,
    max_pool,
)


KEY = jr.key(0)
IMAGE = jr.normal(jr.key(1), (3, 9, 10))


@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [(3, 1, 1), (3, 2, 1), (2, 3, 0), (1, 1, 0), (5, 1, 4)],
)
def test_convolution_is_that_of_xla(size, stride, padding):
    layer = Conv2d(3, 4, size, stride, padding, key=KEY)
    expected = jax.lax.conv_general_dilated(
        IMAGE[None], layer.weight, (stride, stride), [(padding, padding)] * 2
    )[0]
    found = layer(IMAGE)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_a_convolution_has_degree_one():
    layers = [Conv2d(3, 4, 3, key=KEY), eqx.nn.Lambda(jnp.ravel)]
    assert gflow.degree(eqx.nn.Sequential(layers), np.asarray(IMAGE)[None]) == 1
    assert layers[0].degree == 1


@pytest.mark.parametrize(("size", "stride"), [(2, None), (3, 2), (2, 1), (2, 4)])
def test_pooling_is_that_of_equinox(size, stride):
    step = size if stride is None else stride
    largest = max_pool(IMAGE, size, stride)
    mean = avg_pool(IMAGE, size, stride)
    assert np.array_equal(largest, eqx.nn.MaxPool2d(size, step)(IMAGE))
    np.testing.assert_allclose(
        mean, eqx.nn.AvgPool2d(size, step)(IMAGE), rtol=0, atol=1e-15
    )


# Networks for images


def plain_conv_net(network, image):
    """AlexNet's order, activation before any pooling, by Equinox and NumPy."""
    pool = {"max": eqx.nn.MaxPool2d, "average": eqx.nn.AvgPool2d}[network.pool](2, 2)
    act = lambda u: np.where(u > 0, 1, network.leak) * u**network.power  # noqa: E731
    x = image[None]
    for kernel in network.kernels:
        pad = [(kernel.shape[-1] // 2,) * 2] * 2
        x = jax.lax.conv_general_dilated(x[None], kernel, (1, 1), pad)[0]
        x = pool(jnp.asarray(act(x)))
    x = np.ravel(x)
    for weight in network.weights[:-1]:
        x = act(weight @ x)
    return network.weights[-1] @ x


CONV_NETS = {
    "8, max": (lambda: ConvNet((8, 8), (3,), (4,), 3, key=KEY), 3),
    "14, max": (lambda: ConvNet((14, 14), (2, 3), (), 10, key=KEY), 3),
    "28, leaky": (
        lambda: ConvNet((28, 28), (2, 2, 2), (5,), leak=0.1, size=5, key=KEY),
        5,
    ),
    "8, average": (
        lambda: ConvNet((8, 8), (3, 2), (), 3, pool="average", key=KEY),
        3,
    ),
    "9 x 6, cubes": (
        lambda: ConvNet((9, 6), (3,), (4,), power=3, key=KEY),
        13,
    ),
}


@pytest.mark.parametrize(("make", "degree"), CONV_NETS.values(), ids=CONV_NETS.keys())
def test_conv_nets_are_alexnets(make, degree):
    network = make()
    x = np.random.default_rng(0).normal(size=(2, *network.image))
    outputs = eqx.filter_jit(lambda network, x: jax.vmap(network)(x))
    found = outputs(network, x)
    for image, output in zip(x, found, strict=True):
        expected = plain_conv_net(network, image)
        size = np.max(np.abs(expected))
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-13 * size)
    np.testing.assert_allclose(outputs(network, x.reshape(2, -1)), found, rtol=1e-14)
    assert network.degree == degree
    scaled = outputs(_tree.scale(network, 2.0), x) / 2.0**degree
    size = np.max(np.abs(scaled))
    np.testing.assert_allclose(found, scaled, rtol=0, atol=1e-14 * size)


def test_leaves_of_a_conv_net_are_its_weights():
    network = ConvNet((14, 14), (8, 16), (), 10, key=KEY)
    leaves = jax.tree.leaves(_tree.parameters(network))
    assert tuple(leaves) == (*network.kernels, *network.weights)
    # 8 kernels of 9 entries, 16 of 72, and 10 x 16 x 3 x 3.
    assert sum(leaf.size for leaf in leaves) == 72 + 1152 + 1440
    for leaf in leaves:
        inputs = leaf[0].size
        spread = 5 * math.sqrt(2 / leaf.size)
        assert abs(float(jnp.mean(leaf**2)) * inputs - 1) < spread


# Networks that are not homogeneous


def test_a_smooth_network_is_what_it_says():
    network = SmoothMLP(3, (4, 5), 2, "tanh", key=KEY)
    biases = [jr.normal(KEY, w.shape[:-1]) for w in network.weights]
    network = eqx.tree_at(lambda f: f.biases, network, tuple(biases))
    x = np.array([0.3, -1.0, 2.0])
    hidden = x
    for weight, bias in zip(network.weights[:-1], biases[:-1], strict=True):
        hidden = np.tanh(weight @ hidden + bias)
    expected = network.weights[-1] @ hidden + biases[-1]
    np.testing.assert_allclose(network(x), expected, rtol=1e-14)


def test_a_dense_net_shows_each_layer_all_earlier_ones():
    network = DenseNet(3, (4, 5), activation=jnp.sin, bias=False, key=KEY)
    assert network.biases is None
    assert [w.shape for w in network.weights] == [(4, 3), (5, 7), (12,)]
    x = np.array([0.3, -1.0, 2.0])
    seen = np.concatenate([x, np.sin(network.weights[0] @ x)])
    seen = np.concatenate([seen, np.sin(network.weights[1] @ seen)])
    assert float(network(x)) == pytest.approx(
        float(network.weights[2] @ seen), rel=1e-14
    )


def test_biases_start_at_zero_and_are_weights():
    for cls in (SmoothMLP, DenseNet):
        network = cls(3, (4,), key=KEY)
        assert all(np.all(bias == 0) for bias in network.biases or [None])
        leaves = jax.tree.leaves(_tree.parameters(network))
        assert len(leaves) == 4
        with pytest.raises(ValueError, match="must be positively homogeneous"):
            gflow.degree(network, np.random.default_rng(0).normal(size=(5, 3)))


# Cai et al. (2025): kappa = sup |z phi'(z) - phi(z)| makes two layers near-homogeneous.
# For SiLU z^2 s(1 - s) at its largest, where z tanh(z / 2) = 2.
KAPPA = {
    "softplus": math.log(2),
    "silu": 0.439228805,
    "gelu": 2 / (math.e * math.sqrt(2 * math.pi)),
    "leaky_silu": 0.8 * 0.439228805,
}


@pytest.mark.parametrize(("name", "kappa"), KAPPA.items())
def test_activations_are_near_relu_by_their_constant(name, kappa):
    activation = SmoothMLP(1, (1,), activation=name, key=KEY).activation
    z = jnp.linspace(-30, 30, 60_001)
    slope = jax.vmap(jax.grad(activation))(z)
    assert float(jnp.max(jnp.abs(z * slope - activation(z)))) == pytest.approx(
        kappa, rel=1e-6
    )
    left = 0.2 if name == "leaky_silu" else 0.0
    np.testing.assert_allclose(slope[jnp.array([0, -1])], [left, 1], atol=1e-10)


def test_a_leaky_silu_of_leak_one_is_linear():
    u = jnp.linspace(-3, 3, 7)
    np.testing.assert_allclose(leaky_silu(u, 1.0), u, rtol=1e-15)
    np.testing.assert_allclose(leaky_silu(u, 0.0), jax.nn.silu(u), rtol=1e-15)


# Errors


def conv(**arguments):
    defaults: dict = {"image": (8, 8), "channels": (2,), "key": KEY}
    return ConvNet(**defaults | arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Conv2d(0, 1, 3, key=KEY),
            "`in_channels` must be at least 1, but is 0",
        ),
        (lambda: Conv2d(1, 1, 3, padding=-1, key=KEY), "`padding` must be at least 0"),
        (lambda: Conv2d(1, 1, 3, 0, key=KEY), "`stride` must be at least 1"),
        (
            lambda: Conv2d(1, 2, 3, key=KEY)(IMAGE),
            r"`x` must have shape \(1, height, width\), but has shape \(3, 9, 10\)",
        ),
        (lambda: max_pool(IMAGE[0]), r"\(channels, height, width\), .*`x\[None\]`"),
        (lambda: avg_pool(IMAGE, 11), "at least one window of 11 x 11"),
        (lambda: max_pool(IMAGE, 0), "`size` must be at least 1, but is 0"),
        (lambda: conv(image=8), r"`image` must be a height and a width, but is 8"),
        (
            lambda: conv(channels=2),
            r"`channels` must be a tuple .* is 2.* pass `\(8,\)`",
        ),
        (lambda: conv(channels=(2,) * 4), r"at least 16 pixels .* is \(8, 8\)"),
        (lambda: conv(size=2), "`size` must be odd, but is 2"),
        (lambda: conv(pool="min"), "`pool` must be .* but is 'min'"),
        (lambda: conv(power=0.5), "`power` must be a finite number >= 1"),
        (lambda: conv(out_size=1), "`out_size` must be .* but is 1"),
        (lambda: conv()(np.ones((1, 8, 8))), r"one image of shape \(8, 8\), or flat"),
        (
            lambda: SmoothMLP(2, (3,), activation="relu", key=KEY),
            "`activation` must be one of softplus, .* a function, but is 'relu'",
        ),
        (lambda: SmoothMLP(2, (), key=KEY), "`widths` must hold at least one hidden"),
        (lambda: DenseNet(2, (), key=KEY), "`widths` must hold at least one hidden"),
        (lambda: DenseNet(2, (0,), key=KEY), "`widths` must hold ints >= 1"),
        (lambda: DenseNet(2, (3,), key=KEY)(np.ones((5, 2))), r"of shape \(2,\)"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
