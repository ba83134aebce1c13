"""Where flows end: certificates, saddles, and refusals."""

import functools

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import Until
from gflow._limit import newton
from gflow.nn import DeepLinear
from runs import flat
from scipy.optimize import minimize
from tiers import but_slow


TOY_MARGIN = 0.031575240263455  # by another solver, polished


@functools.cache
def run_of(name, end, rtol=1e-6):
    flow, network = getattr(gflow.problems, name)()
    until = Until(log_margin_scale=end)
    return flow, gflow.solve(flow, network, until=until, rtol=rtol, progress=False)


def stopped(run, log10_scale):
    """The trajectory cut where R reaches a power of ten."""
    scale = run.degree * np.asarray(run.log_radius) / np.log(10)
    return cut(run, int(np.searchsorted(scale, log10_scale)))


def cut(run, last):
    def parts(run):
        return (run.tau, run.log_t, run.log_radius, run.direction, run.weights)

    kept = jax.tree.map(lambda leaf: leaf[: last + 1], parts(run))
    return eqx.tree_at(parts, run, kept)


def residuals(flow, limit, degree):
    """Stationarity and feasibility at unit margin, by plain differentiation."""
    w = limit.margin ** (-1 / degree) * flat(limit.direction)
    leaves, tree = jax.tree.flatten(limit.direction)

    def margins(w):
        ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
        parts = jnp.split(w, ends)
        shaped = [p.reshape(leaf.shape) for p, leaf in zip(parts, leaves, strict=True)]
        return flow.margins(jax.tree.unflatten(tree, shaped))

    gradients = np.asarray(jax.jacrev(margins)(jnp.asarray(w)))
    drift = w - limit.certificate.multipliers @ gradients
    return w, np.linalg.norm(drift), np.asarray(margins(jnp.asarray(w)))


@pytest.mark.parametrize("log10_scale", [6, 11])
def test_the_toy_is_not_certified_before_its_end(log10_scale):
    _, run = run_of("relu2", 100.0, 1e-8)
    early = stopped(run, log10_scale)
    limit = gflow.limit(early)
    assert limit.verdict == "not yet"
    # The expected log log-time is an order of magnitude: against the time at which the
    # margin is half way from its value here to its last one.
    margins = run.map(gflow.margins.normalized)
    half = np.argmax(margins >= (limit.margin + margins[-1]) / 2)
    log_log_t = np.log(np.asarray(run.log_t)[half])
    assert abs(limit.stability.log_log_t_escape / log_log_t - 1) < 0.25


def test_the_toy_is_certified_at_its_end_whatever_the_tolerance_of_the_run():
    limits = []
    for rtol in (1e-4, 1e-8):
        flow, run = run_of("relu2", 100.0, rtol)
        limits.append(gflow.limit(run))
    for limit in limits:
        assert limit.verdict == "local maximum"
        assert limit.stability.unstable == limit.stability.neutral == 0
        assert abs(limit.margin / TOY_MARGIN - 1) < 2e-12  # its digits
        _, drift, margins = residuals(flow, limit, 3)
        assert drift < 1e-13
        assert np.min(margins) > 1 - 1e-13
        assert np.max(limit.certificate.multipliers * (margins - 1)) < 1e-13
        assert np.all(limit.certificate.multipliers >= 0)
        size = limit.margin ** (-2 / 3)
        assert abs(np.sum(limit.certificate.multipliers) / (size / 3) - 1) < 1e-12
        assert limit.distance < 1e-6
    assert abs(limits[0].margin / limits[1].margin - 1) < 1e-12
    apart = flat(limits[0].direction) - flat(limits[1].direction)
    assert np.linalg.norm(apart) < 1e-12


@pytest.fixture(scope="module")
def saddle():
    """A saddle of the toy, which its flow passes at a distance of 0.2."""
    flow, run = run_of("relu2", 100.0, 1e-8)
    limit = gflow.limit(stopped(run, 4), reach=0.5)
    assert limit.verdict == "saddle"
    return flow, run, limit


def from_saddle(saddle, push, log_scale, end):
    """The flow from near the saddle, and how far it is along the way out."""
    flow, run, limit = saddle
    theta, way = flat(limit.direction), flat(limit.stability.directions)
    start = theta + push * way
    start *= np.exp(log_scale / 3) / np.linalg.norm(start)
    network = run.field.network(jnp.asarray(start))
    until = Until(log_margin_scale=end)
    out = gflow.solve(flow, network, until=until, rtol=1e-7, progress=False)
    deviations = np.array(
        [
            flat(jax.tree.map(lambda leaf: leaf[i], out.direction)) - theta
            for i in range(out.tau.size)
        ]
    )
    return out, deviations @ way, np.linalg.norm(deviations, axis=1)


@pytest.mark.parametrize("side", [-1, 1])
def test_a_saddle_is_left_at_the_rate_and_the_time_foretold(saddle, side):
    # On one side a second derivative jumps at 3e-4 rad: so the slope is read before.
    _, _, limit = saddle
    out, along, apart = from_saddle(saddle, 1e-5 * side, 30.0, 190.0)
    along = side * along
    early = (along > 2e-5) & (along < 2e-4)
    slope = np.polyfit(np.asarray(out.tau)[early], np.log(along[early]), 1)[0]
    assert np.sum(early) >= 2
    assert abs(slope / limit.stability.rates[0] - 1) < 0.01
    errors = []
    for size in (1e-4, 3e-3, 3e-2):
        here = gflow.limit(cut(out, int(np.argmax(along >= size))))
        assert here.verdict == "saddle"
        assert abs(here.margin / limit.margin - 1) < 1e-12
        log_log_t = np.log(np.asarray(out.log_t)[np.argmax(apart >= 0.5)])
        errors.append(here.stability.log_log_t_escape / log_log_t - 1)
    assert np.max(np.abs(errors)) < 0.1, errors
    assert gflow.limit(out).margin > limit.margin


def test_rates_are_those_of_the_flow_linearized_by_differences(saddle):
    """P J^T q with q of the active margins, moved along the way out and back."""
    _, run, limit = saddle
    theta, way = flat(limit.direction), flat(limit.stability.directions)
    active, step = limit.certificate.active, 1e-6
    velocities = []
    for sign in (1, -1):
        point = theta + sign * step * way
        for _ in range(3):  # back to where the active margins are equal
            margins, jacobian = map(np.asarray, run.field.jacobian(jnp.asarray(point)))
            gap = margins[active] - np.mean(margins[active])
            rows = jacobian[active] - np.mean(jacobian[active], axis=0)
            point = point - np.linalg.pinv(rows, rcond=1e-8) @ gap
            point = point / np.linalg.norm(point)
        tangent = jacobian[active] - np.outer(jacobian[active] @ point, point)
        # The weights that keep active margins equal: dz = K q is constant.
        kernel = tangent @ tangent.T
        weights = np.linalg.solve(kernel, np.ones(len(active)))
        velocities.append(weights / np.sum(weights) @ tangent)
    rate = (velocities[0] - velocities[1]) @ way / (2 * step)
    assert abs(rate / limit.stability.rates[0] - 1) < 1e-4


def test_held_is_certified_only_at_its_last_margin():
    _, run = run_of("held", 230.0, 1e-8)
    for log10_scale in (6, 10, 15, 22, 30, 34):
        assert gflow.limit(stopped(run, log10_scale)).verdict != "local maximum"
    ends = [gflow.limit(stopped(run, power)) for power in (41, 60, 99)]
    for limit in ends:
        assert limit.verdict == "local maximum"
        assert abs(limit.margin / 0.0364443195 - 1) < 1e-8  # by another solver
        assert abs(limit.margin / ends[0].margin - 1) < 1e-12
        assert limit.certificate.stationarity < 1e-13
    # The slowest exponent is that of the observed approach.
    steps = (np.asarray(ends[1].distance), np.asarray(ends[2].distance))
    radius = [float(stopped(run, power).log_radius[-1]) for power in (60, 99)]
    slope = np.log(steps[1] / steps[0]) / (radius[1] - radius[0])
    exponent = ends[0].stability.rates[0] / (3 * ends[0].margin)
    assert abs(slope / exponent - 1) < 0.02


@pytest.mark.parametrize("degree", but_slow([2, 3, 4, 5], 3, 4))
def test_deep_linear_networks_end_at_the_hard_margin(degree):
    flow = gflow.problems.linear()[0]
    random = np.random.default_rng(degree)
    shapes = [(6, 10), *[(6, 6)] * (degree - 2), (6,)]
    weights = [random.normal(size=shape) / np.sqrt(shape[-1]) for shape in shapes]
    run = gflow.solve(
        flow,
        DeepLinear.from_weights(weights),
        until=Until(log_margin_scale=60.0),
        rtol=1e-6,
        progress=False,
    )
    limit = gflow.limit(run)
    exact = gflow.reference.hard_margin(flow.x, flow.y)
    assert limit.verdict == "local maximum"
    assert abs(limit.margin / (exact.margin / degree ** (degree / 2)) - 1) < 1e-12
    product = np.asarray(
        gflow.layers.product_direction(gflow.point(flow, limit.direction))
    )
    assert np.linalg.norm(product - exact.direction) < 1e-12
    assert np.array_equal(limit.certificate.active, exact.support)
    # Unit vectors between layers may turn: 5 angles each.
    assert limit.stability.neutral == 5 * (degree - 1)


@pytest.mark.parametrize("seed", [1, 4])
@pytest.mark.parametrize("unit", [1.0, 1e-7])
def test_features_of_all_sizes_are_certified_in_any_unit(seed, unit):
    # Sums of 1e7 parts of the margin: no float64 knows it to 1e-12.
    random = np.random.default_rng(seed)
    sizes = 10.0 ** np.linspace(-1, 3, 6)
    x = random.normal(size=(150, 6)) * sizes
    y = np.sign(x @ (random.normal(size=6) / sizes))
    start = DeepLinear.from_weights([1e-3 * random.normal(size=6) / unit])
    flow = gflow.GradientFlow(gflow.Logistic(), unit * x, y)
    run = gflow.solve(flow, start, until=Until(log_t=1000.0), progress=False)
    exact = gflow.reference.hard_margin(x, y).margin
    # The margin lacks a constant over log t (Soudry et al., 2018).
    lacks = 1 - float(gflow.margins.normalized(run[-1])) / (unit * exact)
    assert 0 < lacks < 5e-3
    limit = gflow.limit(run, tolerance=1e-9)
    assert limit.verdict == "local maximum"
    assert abs(limit.margin / (unit * exact) - 1) < 1e-9


class Linear:
    """Margins that are linear, by their gradients."""

    def __init__(self, gradients):
        self.gradients = gradients

    def jacobian(self, theta):
        return self.gradients @ theta, self.gradients

    def curvature_along(self, theta, multipliers, vector):
        return np.zeros_like(vector)


@pytest.mark.parametrize("apart", [1e-13, 1e-12, 1e-9, 1.0])
@pytest.mark.parametrize("rounded", [newton.ROUNDED, 10 * newton.ROUNDED])
def test_a_root_of_gradients_that_are_all_but_one_is_none(apart, rounded, monkeypatch):
    # Their multipliers are huge and of both signs: no rounding may pass for a root.
    monkeypatch.setattr(newton, "ROUNDED", rounded)
    random = np.random.default_rng(5)
    one, off = random.normal(size=(2, 6))
    model = Linear(np.array([one, one + apart * off]))
    theta = random.normal(size=6)
    root = newton.newton(model, theta / np.linalg.norm(theta), np.ones(2, bool), 10)
    margins, gradients = model.jacobian(root.theta)
    missed = np.linalg.norm(root.theta - root.multipliers @ gradients)
    if root.converged:
        assert np.hypot(missed, np.linalg.norm(1 - margins)) <= 1e-8
    assert root.converged or apart < 1


def test_digits_agree_with_sequential_quadratic_programming():
    """SciPy's SLSQP on min |w|^2 / 2, z >= 1, from the end of the run."""
    flow, run = run_of("digits", 69.0)
    limit = gflow.limit(run)
    assert limit.verdict == "local maximum"
    end = run.field.network(
        jnp.asarray(flat(jax.tree.map(lambda leaf: leaf[-1], run.direction)))
    )
    start = flat(end) * float(jnp.min(flow.margins(end))) ** (-1 / 3)
    jacobian = eqx.filter_jit(run.field.jacobian)
    near = np.flatnonzero(flow.margins(limit.direction) < 1.5 * limit.margin)
    found = minimize(
        lambda w: (w @ w / 2, w),
        start,
        jac=True,
        constraints={
            "type": "ineq",
            "fun": lambda w: np.asarray(jacobian(jnp.asarray(w))[0])[near] - 1,
            "jac": lambda w: np.asarray(jacobian(jnp.asarray(w))[1])[near],
        },
        method="SLSQP",
        options={"ftol": 1e-18, "maxiter": 20},
    )
    w, drift, margins = residuals(flow, limit, 3)
    assert drift < 1e-13
    assert np.min(margins) > 1 - 1e-13
    assert np.linalg.norm(found.x - w) < 1e-8 * np.linalg.norm(w)
    margins, gradients = map(np.asarray, jacobian(jnp.asarray(found.x)))
    on = np.flatnonzero(margins < 1 + 1e-6)
    assert np.array_equal(on, limit.certificate.active)
    other = gflow.reference.nonnegative_multipliers(found.x, gradients[on])
    assert np.max(np.abs(other - limit.certificate.multipliers[on])) < 1e-8 * np.max(
        other
    )
