import dataclasses
import functools
import math

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import Exponential, Logistic
from gflow.nn import MLP, DeepLinear
from jax.flatten_util import ravel_pytree
from jaxtyping import Array
from runs import RUNS, densely, integral
from scipy.interpolate import CubicSpline


# Two points with the margin w1 w2 each: everything has a closed form.
SIGNS = np.array([1.0, -1.0])
FLOW = gflow.GradientFlow(Exponential(), SIGNS[:, None], SIGNS)
ONE = np.ones(1)


class Unnamed(eqx.Module):
    """w1 w2 x, of a degree that must be found."""

    w: Array

    def __call__(self, x):
        return jnp.sum(self.w[0] * self.w[1] * x)


def two_weights(phi, log_radius=0.0):
    w1, w2 = math.exp(log_radius) * np.array([math.cos(phi), math.sin(phi)])
    return DeepLinear.from_weights([jnp.array([[w1]]), jnp.array([w2])])


def unnamed(phi, log_radius=0.0):
    w = math.exp(log_radius) * np.array([math.cos(phi), math.sin(phi)])
    return Unnamed(jnp.array(w))


each_make = pytest.mark.parametrize("make", [two_weights, unnamed])
each_loss = pytest.mark.parametrize("loss", [Exponential(), Logistic()], ids=type)
each_run = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())

# The second of a pair says whether they need the weights q.
SCALARS = {
    "normalized": (gflow.margins.normalized, 0),
    "smoothed": (gflow.margins.smoothed, 0),
    "norm_product": (gflow.margins.norm_product, 0),
    "alignment": (gflow.kkt.alignment, 1),
    "turning": (gflow.kkt.turning, 1),
    "margin_growth": (gflow.margins.growth, 1),
    "loss_gradient": (gflow.kkt.loss_gradient, 1),
    "smoothed_margin_gradient": (gflow.kkt.smoothed_margin_gradient, 1),
    "kkt_residual": (gflow.kkt.residual, 1),
    "bregman_residual": (gflow.kkt.bregman, 1),
    "bregman_residual, l1": (functools.partial(gflow.kkt.bregman, norm="l1"), 1),
    "weights": (lambda point: point.weights, 1),
}
each_scalar = pytest.mark.parametrize("fn", SCALARS.values(), ids=SCALARS.keys())


def ravel(network):
    return ravel_pytree(network)[0]


def close(actual, expected, rtol):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol)


@each_make
@pytest.mark.parametrize("log_radius", [-230.0, -1.0, 0.0, 2.0, 11.0])
def test_two_weights_have_closed_forms(make, log_radius):
    phi = 0.3
    network = make(phi, log_radius)
    size, scale = math.sin(2 * phi) / 2, math.exp(2 * log_radius)
    close(gflow.margins.normalized(gflow.point(FLOW, network)), size, 1e-15)
    smoothed = gflow.margins.smoothed(gflow.point(FLOW, network))
    close(smoothed, size - math.log(2) / scale, 1e-13)
    close(gflow.kkt.alignment(gflow.point(FLOW, network)), math.sin(2 * phi), 1e-14)
    close(gflow.kkt.turning(gflow.point(FLOW, network)), 1 / math.tan(2 * phi), 1e-14)
    # w = r (cos, sin), and the gradient is -exp(-w1 w2) (w2, w1).
    parts = gflow.kkt.loss_gradient(gflow.point(FLOW, network))
    close(parts.sign, -1.0, 0)
    log_size = -scale * size + log_radius
    close(parts.log_radial, log_size + math.log(math.sin(2 * phi)), 1e-13)
    close(parts.log_spherical, log_size + math.log(math.cos(2 * phi)), 1e-13)


def test_margin_growth_of_two_weights():
    phi, log_radius = 0.3, 2.0
    growth = gflow.margins.growth(gflow.point(FLOW, two_weights(phi, log_radius)))
    b = math.exp(2 * log_radius) * math.sin(2 * phi) / 2
    alpha = b - math.log(2)
    close(growth.radial, 2 * (b / alpha - 1), 1e-13)
    close(growth.spherical, 2 * b / alpha / math.tan(2 * phi) ** 2, 1e-13)


def test_past_overflow_the_smoothed_margin_is_its_limit():
    network = two_weights(math.acos(0.6))
    assert gflow.margins.smoothed(
        gflow.point(FLOW, network, log_radius=1e6)
    ) == pytest.approx(0.48, rel=1e-15)
    assert (
        gflow.margins.smoothed(gflow.point(FLOW, network, log_radius=-1e6)) == -math.inf
    )
    # For the logistic loss of an unfitted network that is the sum of its failures.
    flow, network = gflow.problems.relu2()
    unit = jax.tree.map(lambda leaf: leaf / jnp.linalg.norm(ravel(network)), network)
    failures = jnp.sum(jnp.minimum(flow.margins(unit), 0.0))
    assert gflow.margins.smoothed(
        gflow.point(flow, network, log_radius=1e6)
    ) == pytest.approx(failures)


@pytest.mark.parametrize("log_radius", [5.0, 15.0, 18.0, 25.0, 60.0])
def test_compiled_smoothed_margins_of_any_radius_are_finite(log_radius):
    # A maximum that differs in its last bit from what it is the maximum of is enough
    # to make logsumexp infinite.
    flow, _, curve = RUNS["relu2, exponential"]()
    radii = jnp.full(len(curve.tau), log_radius)
    smoothed = curve.map(
        lambda point, rho: gflow.margins.smoothed(
            dataclasses.replace(point, log_radius=rho)
        ),
        radii,
    )
    margin = curve.map(gflow.margins.normalized)
    gap = np.asarray(margin - smoothed)
    assert np.min(gap) > -1e-15
    assert np.max(gap) < math.log(len(flow.y)) * np.exp(-3 * log_radius) + 1e-15


@each_loss
def test_smoothed_margin_is_the_inverse_loss_of_the_sum(loss):
    flow, network = gflow.problems.relu2(loss)
    z = np.asarray(flow.margins(network))
    if isinstance(loss, Exponential):
        alpha = -np.log(np.sum(np.exp(-z)))
    else:
        alpha = -np.log(np.expm1(np.sum(np.log1p(np.exp(-z)))))
    r = np.linalg.norm(ravel(network))
    close(gflow.margins.smoothed(gflow.point(flow, network)), alpha / r**3, 1e-13)


def test_norm_product_margin_is_blind_to_the_norm_of_each_layer():
    flow, network = gflow.problems.relu2()
    first, second = jax.tree.leaves(network)
    rescaled = MLP.from_weights((7.0 * first, second / 3.0), power=2)
    value = gflow.margins.norm_product(gflow.point(flow, network))
    norms = jnp.linalg.norm(first) ** 2 * jnp.linalg.norm(second)
    close(value, jnp.min(flow.margins(network)) / norms, 1e-13)
    close(gflow.margins.norm_product(gflow.point(flow, rescaled)), value, 1e-13)
    with pytest.raises(ValueError, match=r"`point.network` must be .* but is Unnamed"):
        gflow.margins.norm_product(gflow.point(FLOW, unnamed(0.3)))


@each_scalar
@pytest.mark.parametrize("problem", [gflow.problems.relu2, gflow.problems.linear])
def test_a_radius_given_is_a_radius_had(fn, problem):
    flow, network = problem()
    norm = np.linalg.norm(ravel(network))
    own = eqx.filter_jit(fn[0])(gflow.point(flow, network))
    tiny = problem(scale=1e-100)[1]
    given = gflow.point(flow, tiny, log_radius=math.log(norm))
    given = eqx.filter_jit(fn[0])(given)
    jax.tree.map(lambda a, b: close(a, b, 1e-12), own, given)


def test_zero_weights_are_no_point():
    flow, network = gflow.problems.relu2()
    zero = jax.tree.map(jnp.zeros_like, network)
    with pytest.raises(ValueError, match="nonzero weight"):
        gflow.point(flow, zero)


@each_scalar
def test_weights_must_be_given_where_the_direction_does_not_tell_them(fn):
    flow, _ = gflow.problems.linear()
    direction = gflow.reference.hard_margin(flow.x, flow.y).direction
    network = DeepLinear.from_weights([1.1 * direction[None], ONE[None], ONE])
    before, after = (
        fn[0](gflow.point(flow, network, log_radius=math.log(r) / 3))
        for r in (0.9e10, 1.1e10)
    )
    assert not any(np.any(np.isnan(part)) for part in jax.tree.leaves(before))
    if fn[1]:
        parts = jax.tree.leaves(after)
        assert any(np.all(np.isnan(part)) for part in parts)
    else:
        jax.tree.map(lambda a, b: close(a, b, 1e-8), before, after)


@each_loss
@pytest.mark.parametrize("log_radius", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("problem", [gflow.problems.relu2, gflow.problems.linear])
def test_gradients_and_growth_agree_with_autodiff(loss, log_radius, problem):
    flow, network = problem(loss)
    moving, unravel = ravel_pytree(network)
    w = math.exp(log_radius) * moving / jnp.linalg.norm(moving)

    def margins(w):
        return flow.margins(unravel(w))

    def mean_loss(w):
        z = margins(w)
        each = jnp.exp(-z) if isinstance(loss, Exponential) else jnp.log1p(jnp.exp(-z))
        return jnp.mean(each)

    def smoothed(w):
        total = mean_loss(w) * len(flow.y)
        inner = total if isinstance(loss, Exponential) else jnp.expm1(total)
        return -jnp.log(inner) / jnp.linalg.norm(w) ** 3

    network = unravel(w)
    cases = [
        (mean_loss, gflow.kkt.loss_gradient(gflow.point(flow, network))),
        (smoothed, gflow.kkt.smoothed_margin_gradient(gflow.point(flow, network))),
    ]
    radius = jnp.linalg.norm(w)
    for function, parts in cases:
        gradient = jax.grad(function)(w)
        radial = jnp.dot(gradient, w) / radius
        across = jnp.linalg.norm(gradient - radial * w / radius)
        close(parts.sign * jnp.exp(parts.log_radial), radial, 1e-11)
        close(jnp.exp(parts.log_spherical), across, 1e-11)
    # Along w' = -grad: d log(smoothed) / d log r.
    step = -jax.grad(mean_loss)(w)
    close(
        gflow.kkt.alignment(gflow.point(flow, network)),
        jnp.dot(w, step) / radius / jnp.linalg.norm(step),
        1e-12,
    )
    growth = gflow.margins.growth(gflow.point(flow, network))
    change = jnp.dot(jax.grad(smoothed)(w), step) / smoothed(w)
    expected = change / (jnp.dot(w, step) / radius**2)
    if smoothed(w) > 0:
        close(growth.radial + growth.spherical, expected, 1e-10)
    else:
        assert jnp.isnan(growth.radial) & jnp.isnan(growth.spherical)


@each_run
def test_smoothed_margin_agrees_with_the_loss_of_the_run(run):
    flow, _, curve = run()
    total = curve.log_loss + np.log(len(flow.y))
    alpha = np.asarray(flow.loss.margin_of(jnp.asarray(total)))
    smoothed = curve.map(gflow.margins.smoothed)
    expected = alpha / np.exp(3 * curve.log_radius)
    close(smoothed[:-1], expected[:-1], 1e-13)
    close(smoothed[-1], expected[-1], 1e-8)  # between two steps, by dense output


@each_run
def test_the_smoothed_margin_does_not_fall(run):
    _, _, curve = run()
    smoothed = curve.map(gflow.margins.smoothed)
    fit = np.asarray(smoothed)[np.asarray(smoothed) > 0]
    assert len(fit) > 50
    assert np.min(np.diff(np.log(fit))) > -1e-14  # of rounding


@each_run
def test_path_length_is_the_integral_of_turning(run):
    _, _, curve = run()
    fine = densely(curve, 9.0)
    turning = fine.map(gflow.kkt.turning)
    lengths = gflow.paths.length(curve)
    assert lengths[0] == 0
    assert np.min(np.diff(lengths)) >= 0
    # Once the norm grows and the angle is small: before, log r is no clock.
    first = np.flatnonzero(np.asarray(turning) < 1.0)[0]
    expected = integral(np.asarray(turning)[first:], fine.log_radius[first:])
    chords = gflow.paths.length(fine)[first:]
    close(chords - chords[0], expected, 1e-5)
    at_samples = CubicSpline(fine.tau[first:], expected)
    inside = (curve.tau > fine.tau[first]) & (curve.tau < fine.tau[-1])
    assert np.sum(inside) > 20
    found, true = lengths[inside], at_samples(curve.tau[inside])
    close(found - found[0], true - true[0], 1e-6)


@pytest.fixture(scope="module")
def two_weights_run():
    until = gflow.Until(log_t=1e8)
    return gflow.solve(FLOW, two_weights(0.3), until=until, rtol=1e-8, progress=False)


def test_path_length_of_two_weights(two_weights_run):
    curve = two_weights_run
    phi = 0.5 * np.arccos(math.cos(0.6) * np.exp(-2 * curve.log_radius))
    close(gflow.paths.length(curve), phi - 0.3, 1e-06)
    sparse = curve.at(tau=curve.tau)
    assert np.all(gflow.paths.length(sparse) <= gflow.paths.length(curve) + 1e-12)


def test_rates_of_two_weights(two_weights_run):
    # Once w1 = w2, dz/dt = 2 z e^-z, so 2 t = Ei(z) ~ e^z / z (1 + 1/z + 2/z^2 + ...).
    curve = two_weights_run
    late = (np.asarray(curve.log_loss) < -1e3) & (np.asarray(curve.log_t) < 1e7)
    assert np.sum(late) >= 5
    z = -np.asarray(curve.log_loss)[late]
    rest = np.log1p(1 / z + 2 / z**2 + 6 / z**3) - np.log(2 * z)
    loss = gflow.paths.log_loss_constant(curve)
    close(loss[late], rest + np.log(z + rest), 2e-6)
    assert abs(loss[late][-1] + math.log(2)) < 1e-4
    radius = gflow.paths.log_radius_constant(curve)
    # w1^2 - w2^2 is conserved, so r^4 = 4 z^2 + cos(0.6)^2.
    log_r = 0.25 * np.log(4 * z**2 + math.cos(0.6) ** 2)
    close(radius[late], log_r - 0.5 * np.log(z + rest), 1e-9)


def test_rates_are_those_of_homogeneous_networks_and_exponential_tails():
    x, y = np.array([[1.0], [0.7]]), np.array([1.0, 1.0])
    linear = gflow.nn.DeepLinear.from_weights([jnp.array([0.5])])
    biased = eqx.nn.MLP(1, "scalar", 3, 1, jnp.tanh, key=jax.random.key(0))

    def solved(loss, network):
        flow, until = gflow.GradientFlow(loss, x, y), gflow.Until(log_t=0.5)
        return gflow.solve(flow, network, until=until, progress=False)

    for rate in (gflow.paths.log_loss_constant, gflow.paths.log_radius_constant):
        for loss, network in ((gflow.Square(), linear), (gflow.Logistic(), biased)):
            with pytest.raises(ValueError, match="must be that of a homogeneous"):
                rate(solved(loss, network))
    with pytest.raises(ValueError, match="must have an exponential tail"):
        gflow.paths.log_loss_constant(solved(gflow.ExponentialTail(2.0), linear))


def test_the_radius_grows_as_the_tail_says():
    x, y = np.array([[1.0], [0.7]]), np.array([1.0, 1.0])
    network = gflow.nn.DeepLinear.from_weights([jnp.array([0.5])])
    flow = gflow.GradientFlow(gflow.ExponentialTail(2.0), x, y)
    until = gflow.Until(log_t=1e6)
    curve = gflow.solve(flow, network, until=until, progress=False)
    found = float(gflow.paths.log_radius_constant(curve)[-1])
    assert abs(found + math.log(0.7)) < 1e-4  # log t / t of it is left


def test_modified_margin_of_softplus_units():
    # f = sum a_j softplus(v_j x): near-homogeneous of degree 2, kappa = log 2.
    def network(a, v):
        return eqx.nn.Lambda(Softplus(jnp.asarray(a), jnp.asarray(v)))

    a, v = np.array([0.9, -1.1]), np.array([1.3, -0.8])
    bound = (0.0, math.log(2) * math.sqrt(2))
    value = gflow.margins.modified(gflow.point(FLOW, network(a, v)), 2, bound)
    f = np.array([np.sum(a * np.log1p(np.exp(v * x))) for x in (1.0, -1.0)])
    alpha = -np.log(np.sum(np.exp(-np.array([1, -1]) * f)))
    r = np.sqrt(np.sum(a**2 + v**2))
    close(value, (alpha - bound[1] * r) / r**2, 1e-13)
    # A homogeneous network has nothing to modify.
    close(
        gflow.margins.modified(gflow.point(FLOW, two_weights(0.3, 1.0)), 2, ()),
        gflow.margins.smoothed(gflow.point(FLOW, two_weights(0.3, 1.0))),
        1e-14,
    )
    with pytest.raises(ValueError, match="`bound` must hold at most `degree` = 2"):
        gflow.margins.modified(gflow.point(FLOW, two_weights(0.3)), 2, (0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="`bound` must not be negative"):
        gflow.margins.modified(gflow.point(FLOW, two_weights(0.3)), 2, (0.0, -1.0))


class Softplus(eqx.Module):
    a: Array
    v: Array

    def __call__(self, x):
        return jnp.sum(self.a * jax.nn.softplus(self.v * x))
