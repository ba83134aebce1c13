"""Margins and KKT residuals in any norm of the weights."""

import math

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow.nn import DeepLinear
from gflow.reference import hard_margin
from runs import flat, numpy_margins_and_gradients, relu2_run
from test_steepest import run


NORMS = ("l2", "linf", "l1", "spectral")
each_norm = pytest.mark.parametrize("norm", NORMS)


@pytest.fixture(scope="module")
def late():
    """A fitted squared-ReLU network of norm one, its log-radius and weights."""
    flow, _, curve = relu2_run()
    index = int(np.argmax(3 * curve.log_radius > 12.0))
    network = jax.tree.map(lambda leaf: leaf[index], curve.direction)
    return flow, network, curve.log_radius[index], curve.weights[index]


def layers(vector):
    """The two layers of `relu2`."""
    return [vector[:100].reshape(10, 10), vector[100:].reshape(1, 10)]


def sizes(vector):
    """Each norm and its dual, by NumPy."""
    values = [np.linalg.svd(layer, compute_uv=False) for layer in layers(vector)]
    size = np.abs(vector)
    return {
        "l2": (np.linalg.norm(vector),) * 2,
        "linf": (np.max(size), np.sum(size)),
        "l1": (np.sum(size), np.max(size)),
        "spectral": (max(map(np.max, values)), sum(map(np.sum, values))),
    }


def subgradient(norm, w):
    r"""One subgradient of $\frac12 \|\cdot\|^2$ at w."""
    size = sizes(w)[norm][0]
    if norm == "l2":
        return w
    if norm == "l1":
        return size * np.sign(w)
    if norm == "linf":
        return np.where(np.abs(w) == size, w, 0.0)
    factors = [np.linalg.svd(layer, full_matrices=False) for layer in layers(w)]
    parts = [
        size * np.outer(u[:, 0], v[0]) * (s[0] >= size * (1 - 1e-14))
        for u, s, v in factors
    ]
    return np.concatenate([np.ravel(part) for part in parts])


@each_norm
def test_the_residual_is_its_definition(late, norm):
    flow, network, log_radius, weights = late
    value = gflow.kkt.bregman(
        gflow.point(flow, network, log_radius=log_radius, weights=weights), norm
    )
    z, gradients = numpy_margins_and_gradients(network, flow)
    w = flat(network) * np.min(z) ** (-1 / 3)
    m = np.asarray(weights) @ gradients
    size = sizes(w)[norm][0]
    m *= size / sizes(m)[norm][1]
    s = subgradient(norm, w)
    assert math.isclose(sizes(s)[norm][1], size, rel_tol=1e-13)
    assert math.isclose(w @ s, size**2, rel_tol=1e-13)
    divergence = (sizes(m)[norm][1] ** 2 - sizes(s)[norm][1] ** 2) / 2 - w @ (m - s)
    assert abs(value - divergence) < 1e-13 * size**2
    assert value > 1e-6 * size**2


def test_in_the_euclidean_norm_it_is_half_the_squared_stationarity():
    _, _, curve = relu2_run()
    late = curve.at(tau=curve.tau[np.asarray(curve.log_loss) < -1.0])
    value, kkt = late.map(
        lambda point: (gflow.kkt.bregman(point), gflow.kkt.residual(point).stationarity)
    )
    assert np.max(np.abs(2 * value / kkt**2 - 1)) < 1e-12


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
def test_it_vanishes_at_the_hard_margin_of_its_norm_alone(norm):
    flow, _ = gflow.problems.linear()
    found = {name: hard_margin(flow.x, flow.y, name) for name in ("l2", "linf", "l1")}
    for name, exact in found.items():
        network = DeepLinear.from_weights([exact.direction])
        q = jnp.asarray(exact.multipliers / np.sum(exact.multipliers))
        value = gflow.kkt.bregman(
            gflow.point(flow, network, log_radius=1000.0, weights=q), norm
        )
        size = found[norm].margin ** -2
        assert value > -1e-14 * size
        assert (value < 1e-13 * size) == (name == norm)


@pytest.mark.parametrize("norm", ["linf", "l1", "spectral"])
@pytest.mark.parametrize("smoothing", [1.0, 1e-3, 1e-7])
def test_by_default_it_is_that_of_the_flow(late, norm, smoothing):
    plain, network, log_radius, weights = late
    flow = gflow.SteepestFlow(
        plain.loss, plain.x, plain.y, norm=norm, smoothing=smoothing
    )
    value = gflow.kkt.bregman(
        gflow.point(flow, network, log_radius=log_radius, weights=weights)
    )
    named = gflow.kkt.bregman(
        gflow.point(flow, network, log_radius=log_radius, weights=weights), norm
    )
    z, gradients = numpy_margins_and_gradients(network, flow)
    theta, pull = flat(network), np.asarray(weights) @ gradients
    measure = flow.norm_of(((10, 10), (10,)))
    size = float(measure(jnp.asarray(theta)))
    # The dual norm is attained by the motion of the flow, and by no other motion.
    motion = np.asarray(measure.direction(jnp.asarray(pull)))
    dual = pull @ motion / float(measure(jnp.asarray(motion)))
    expected = np.min(z) ** (-2 / 3) * size * (size - theta @ pull / dual)
    assert math.isclose(value, expected, rel_tol=1e-7)
    # Norms differ by a factor of 1 + smoothing at most, in the square.
    bound = smoothing * np.min(z) ** (-2 / 3) * sizes(theta)[norm][0] ** 2
    assert abs(value - named) < 2 * bound


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_it_vanishes_along_steepest_flows(norm):
    """In units of its bound, which the margin gives; in the norm of the flow alone."""
    curve = run("linear", norm)
    flow = curve.field.flow
    own, euclidean, margin, norms = curve.map(
        lambda point: (
            gflow.kkt.bregman(point),
            gflow.kkt.bregman(point, "l2"),
            jnp.min(flow.margins(point.direction)),
            flow.norm_of(((5,),))(point.direction.weights[0]),
        )
    )
    fitted = np.asarray(margin) > 0
    share = np.asarray(own)[fitted] * np.asarray(margin / norms)[fitted] ** 2
    assert np.all((share > -1e-12) & (share < 2))  # but for rounding
    assert share[0] > 0.1
    assert abs(share[-1]) < 1e-10
    assert euclidean[-1] * margin[-1] ** 2 > 0.01


@each_norm
def test_margins_are_those_of_numpy(late, norm):
    flow, network, log_radius, _ = late
    z, _ = numpy_margins_and_gradients(network, flow)
    size = sizes(flat(network))[norm][0]
    found = gflow.margins.in_norm(gflow.point(flow, network), norm)
    assert math.isclose(found, np.min(z) / size**3, rel_tol=1e-13)
    smoothing = 1e-8  # as little as may be
    steepest = gflow.SteepestFlow(
        flow.loss, flow.x, flow.y, norm=norm, smoothing=smoothing
    )
    found = gflow.margins.steepest(
        gflow.point(steepest, network, log_radius=log_radius)
    )
    scale = math.exp(3 * log_radius)
    alpha = -np.logaddexp.reduce(-scale * z)
    expected = alpha / scale / size**3
    assert (1 + smoothing) ** -1.5 * expected * (1 - 1e-13) < found
    assert found < expected * (1 + 1e-13)


def test_other_norms_are_refused(late):
    with pytest.raises(ValueError, match="`norm` must be one of"):
        gflow.kkt.bregman(gflow.point(*late[:2]), norm="l3")
