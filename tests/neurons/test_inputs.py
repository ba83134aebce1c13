"""What a network sees in its inputs: saliency maps and activation patterns."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow.nn import MLP, DeepLinear
from jaxtyping import Array
from runs import linear_run, relu2_run


def close(actual, expected, rtol):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol)


def at(curve, index):
    return jax.tree.map(lambda leaf: leaf[index], curve.direction)


@pytest.fixture(scope="module")
def late():
    """A fitted squared-ReLU network of norm one."""
    flow, _, curve = relu2_run()
    index = int(np.argmax(3 * curve.log_radius > 12.0))
    return flow, at(curve, index)


def test_saliency_agrees_with_numpy(late):
    flow, network = late
    v, a = (np.asarray(w) for w in network.weights)
    x, y = np.asarray(flow.x), np.asarray(flow.y)
    maps = y[:, None] * ((2 * np.maximum(x @ v.T, 0) * a) @ v)
    maps /= np.linalg.norm(maps, axis=1, keepdims=True)
    close(gflow.margins.saliency(gflow.point(flow, network)), maps, 1e-12)


def test_saliency_of_a_linear_network_is_its_product():
    flow, _, curve = linear_run()
    maps, product = curve.map(
        lambda point: (
            gflow.margins.saliency(point),
            gflow.layers.product_direction(point),
        )
    )
    signed = np.asarray(flow.y)[:, None] * np.asarray(product)[:, None, :]
    close(maps, signed, 1e-11)


def test_activation_patterns(late):
    flow, network = late
    v, _ = (np.asarray(w) for w in network.weights)
    assert np.array_equal(
        gflow.neurons.patterns(gflow.point(flow, network)), np.asarray(flow.x) @ v.T > 0
    )
    signs = np.where(np.arange(len(v)) == 3, -1.0, 1.0)[:, None]
    flipped = MLP.from_weights((signs * v, network.weights[1]))
    assert gflow.neurons.pattern_distance(
        gflow.point(flow, network), flipped
    ) == pytest.approx(1 / len(v))
    assert gflow.neurons.pattern_distance(gflow.point(flow, network), network) == 0
    with pytest.raises(ValueError, match="but is DeepLinear"):
        gflow.neurons.patterns(gflow.point(flow, linear_run()[1]))


def test_patterns_of_two_hidden_layers():
    flow, _ = gflow.problems.relu2()
    random = np.random.default_rng(0)
    v, w, a = (random.normal(size=s) for s in [(4, 10), (3, 4), (3,)])
    network = MLP.from_weights((v, w, a), power=2, leak=0.5)
    u = np.asarray(flow.x) @ v.T
    second = np.where(u > 0, u**2, -0.5 * u**2) @ w.T
    expected = np.concatenate([u, second], axis=1) > 0
    assert np.array_equal(gflow.neurons.patterns(gflow.point(flow, network)), expected)


def test_saliency_of_classes_is_that_of_the_nearest_other_class():
    random = np.random.default_rng(1)
    layers = [random.normal(size=shape) for shape in ((5, 4), (3, 5))]
    x, y = random.normal(size=(9, 4)), np.arange(9) % 3
    flow = gflow.GradientFlow(gflow.CrossEntropy(), x, y)
    product = layers[1] @ layers[0]
    others = np.where(np.arange(3) == y[:, None], -np.inf, x @ product.T)
    rows = product[y] - product[np.argmax(others, axis=1)]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    close(
        gflow.margins.saliency(gflow.point(flow, DeepLinear.from_weights(layers))),
        rows,
        1e-13,
    )


class Product(eqx.Module):
    """The square of <w, x>, of images x."""

    w: Array

    def __call__(self, x):
        return jnp.sum(self.w * x) ** 2


def test_saliency_has_the_shape_of_an_image():
    random = np.random.default_rng(2)
    x, w = random.normal(size=(4, 3, 5)), random.normal(size=(3, 5))
    y = np.array([1.0, -1.0, 1.0, -1.0])
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    signs = y * np.sign(np.sum(w * x, axis=(1, 2)))
    expected = signs[:, None, None] * w / np.linalg.norm(w)
    close(
        gflow.margins.saliency(gflow.point(flow, Product(jnp.asarray(7 * w)))),
        expected,
        1e-14,
    )


def test_saliency_converges_with_the_direction():
    """Its distance from that of the limit falls with the direction's."""
    flow, _, curve = relu2_run()
    limit = gflow.limit(curve)
    assert limit.verdict == "local maximum"
    end = gflow.margins.saliency(gflow.point(flow, limit.direction))
    maps, apart = curve.map(
        lambda point: (
            gflow.margins.saliency(point),
            2 * jnp.sin(gflow.paths.rotation(point, limit.direction) / 2),
        )
    )
    off = np.max(np.linalg.norm(np.asarray(maps) - np.asarray(end), axis=2), axis=1)
    apart = np.asarray(apart)
    assert off[0] > 0.5
    near = apart < 0.03
    assert np.sum(near) > 5
    assert np.all(off[near] < apart[near])
    assert np.all(np.diff(off[near]) < 0)
    assert off[-1] < 1e-6


def test_activation_patterns_change_on_the_way_and_not_at_its_end():
    flow, start, curve = relu2_run()
    first = np.asarray(curve.direction.weights[0])
    expected = np.einsum("nf,tuf->tnu", np.asarray(flow.x), first) > 0
    patterns, shares = curve.map(
        lambda point: (
            gflow.neurons.patterns(point),
            gflow.neurons.pattern_distance(point, start),
        )
    )
    assert np.array_equal(patterns, expected)
    close(shares, np.mean(expected != expected[0], axis=(1, 2)), 1e-15)
    assert shares[0] == 0
    limit = gflow.limit(curve)
    late = np.asarray(curve.log_radius) > 0.8 * float(curve.log_radius[-1])
    # Units that carry weight in the limit no longer change.
    carrying = (
        np.asarray(gflow.neurons.shares(gflow.point(flow, limit.direction))) > 1e-6
    )
    ended = np.asarray(gflow.neurons.patterns(gflow.point(flow, limit.direction)))
    assert np.all(np.asarray(patterns)[late][..., carrying] == ended[:, carrying])
    assert shares[-1] > 0
