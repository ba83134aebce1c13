"""Desingularizing functions, where the exponent and the remaining path are known."""

import equinox as eqx
import gflow
import gflow.plot
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from gflow import Exponential, Until
from hypothesis import given, settings, strategies as st
from runs import linear_run, relu2_run
from scipy.interpolate import PchipInterpolator


SAME = jnp.array([[1.0], [-1.0]])  # two samples of one margin: q is uniform


class Flat(eqx.Module):
    """Both margins are r^L (1 - |sin φ|^k), flat to order k at angle zero."""

    w: jax.Array
    order: float = eqx.field(static=True)
    power: float = eqx.field(static=True)

    def __call__(self, x):
        r = jnp.sqrt(jnp.sum(self.w**2))
        return x[0] * r**self.power * (1 - jnp.abs(self.w[1] / r) ** self.order)


class Valley(eqx.Module):
    """Margins r^L (1 ± u - μv²/2): u = y/r is held by both, v = z/r decays slowly."""

    w: jax.Array
    bend: float = eqx.field(static=True)
    power: float = eqx.field(static=True)

    def __call__(self, x):
        r = jnp.sqrt(jnp.sum(self.w**2))
        u, v = self.w[1] / r, self.w[2] / r
        return r**self.power * (x[0] * (1 - self.bend / 2 * v**2) + x[1] * u)


class Product(eqx.Module):
    w: jax.Array

    def __call__(self, x):
        return self.w[0] * self.w[1] * x[0]


def solve(flow, network, log_scale, rtol):
    until = Until(log_margin_scale=log_scale)
    return gflow.solve(flow, network, until=until, rtol=rtol, progress=False)


def flat_run(order, power, log_scale, angle, rtol):
    flow = gflow.GradientFlow(Exponential(), SAME, SAME[:, 0])
    start = 3.0 * jnp.array([jnp.cos(angle), jnp.sin(angle)])
    run = solve(flow, Flat(start, order, power), log_scale, rtol)
    return flow, run


def angle_of(run):
    return np.arctan2(*np.abs(np.asarray(run.direction.w)).T[::-1])


@pytest.mark.parametrize(
    ("order", "power", "log_scale"),
    [
        pytest.param(2.0, 4.0, 80.0, marks=pytest.mark.slow),
        (3.0, 2.0, 1e6),
        pytest.param(4.0, 3.0, 1e8, marks=pytest.mark.slow),
        pytest.param(6.0, 2.0, 1e10, marks=pytest.mark.slow),
    ],
)
@settings(max_examples=2)
@given(angle=st.floats(0.2, 1.1), digits=st.floats(5.5, 8.0))
def test_flat_to_order_k_has_exponent_1_minus_1_over_k(
    order, power, log_scale, angle, digits
):
    _, run = flat_run(order, power, log_scale, angle, 10**-digits)
    found = gflow.kl.desingularize(run)
    true = 1 - 1 / order
    assert abs(found.exponent - true) <= 0.02 * true
    assert abs(found.exponent - true) <= 4 * found.exponent_error
    phi = angle_of(run)
    known, ok = np.isfinite(found.bound), found.resolved
    assert np.all(found.bound[known] >= phi[known])
    scale = np.exp(-np.minimum(run.degree * np.asarray(run.log_radius), 700))
    gap = np.sin(phi) ** order + np.log(2) * scale
    np.testing.assert_allclose(found.gap[ok], gap[ok], rtol=0.03)
    np.testing.assert_allclose(found.remaining[ok], phi[ok], rtol=0.03)


@pytest.mark.slow
@settings(max_examples=2)
@given(
    order=st.sampled_from([3.0, 4.0]),
    log_scale=st.floats(30.0, 1e3),
    angle=st.floats(0.3, 1.0),
)
def test_the_bound_and_the_error_hold_for_runs_that_end_early(order, log_scale, angle):
    _, run = flat_run(order, 3.0, log_scale, angle, 1e-7)
    found = gflow.kl.desingularize(run)
    assert abs(found.exponent - (1 - 1 / order)) <= 4 * found.exponent_error
    phi = angle_of(run)
    assert np.all(found.bound[found.resolved] >= phi[found.resolved])


@pytest.mark.parametrize(
    ("bend", "power", "exponent"),
    [
        pytest.param(1.0, 2.0, 1 / 2, marks=pytest.mark.slow),
        (3.0, 2.0, 1 / 4),
        pytest.param(10.0, 4.0, 3 / 8, marks=pytest.mark.slow),
    ],
)
def test_the_entropy_of_several_active_margins_lowers_the_exponent(
    bend, power, exponent
):
    # v decays like r^-σ, σ = bend / L, and the gap like r^-min(L, 2σ).
    x = jnp.array([[1.0, 1.0], [1.0, 1.0], [-1.0, 1.0]])
    flow = gflow.GradientFlow(Exponential(), x, x[:, 0])
    network = Valley(jnp.array([3.0, 0.3, 0.5]), bend, power)
    found = gflow.kl.desingularize(solve(flow, network, 60.0, 1e-10))
    assert abs(found.exponent - exponent) <= 0.02 * exponent


@settings(max_examples=2)
@given(angle=st.floats(0.05, 0.6))
def test_a_product_of_two_weights_in_closed_form(angle):
    flow = gflow.GradientFlow(Exponential(), SAME, SAME[:, 0])
    network = Product(3.0 * jnp.array([jnp.cos(angle), jnp.sin(angle)]))
    start = 9.0 * np.cos(2 * angle)  # cos 2φ = start / R
    run = solve(flow, network, 40.0, 1e-9)
    found = gflow.kl.desingularize(run)
    ok = found.resolved
    scale = np.exp(2 * np.asarray(run.log_radius)[ok])
    rest = np.arcsin(start / scale) / 2
    gap = np.sin(rest) ** 2 + np.log(2) / scale
    speed = start / scale + 2 * np.log(2) / scale / np.tan(2 * rest)
    assert abs(found.exponent) <= 0.01  # σ = L: speed and gap over path are constant
    np.testing.assert_allclose(found.gap[ok], gap, rtol=0.02)
    np.testing.assert_allclose(found.remaining[ok], rest, rtol=0.02)
    assert np.all(found.bound[ok] >= rest)
    clear = rest > 1e-5  # further on q has few digits
    np.testing.assert_allclose(found.speed[ok][clear], speed[clear], rtol=1e-3)
    # The two cases of Ji and Telgarsky, with r^(L/8) = R^(1/8).
    case = np.log(np.sin(2 * rest)) - np.log(2 * np.log(2)) + 7 / 8 * np.log(scale)
    late = clear & (scale > 100)
    np.testing.assert_allclose(found.log_case[ok][late], case[late], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("make", [relu2_run, linear_run])
def test_the_bound_holds_on_named_problems(make):
    flow, network, _ = make()
    reference = solve(flow, network, 100.0, 1e-10)
    zeta = gflow.paths.length(reference)
    path = PchipInterpolator(np.asarray(reference.log_radius), zeta)
    for log_scale, rtol in ((60.0, 1e-5), (100.0, 1e-6)):
        run = solve(flow, network, log_scale, rtol)
        found = gflow.kl.desingularize(run)
        ok = found.resolved
        true = zeta[-1] - path(np.asarray(run.log_radius))
        assert np.all(found.bound[ok] >= true[ok])
        assert np.all(found.bound[ok] <= 5 * true[ok])
        limit = gflow.limit(run).direction
        away = run.map(lambda point: gflow.paths.rotation(point, limit))
        known = np.isfinite(found.bound)
        assert np.all(found.bound[known] >= np.asarray(away)[known])
        # The slowest deviation of both decays like 1/r, and L = 3: σ < L/2.
        assert abs(found.exponent - 0.5) <= 0.01
        # psi is concave, vanishes at 0, and passes through the bound.
        at = np.concatenate([[0.0], np.geomspace(1e-3, 1, 200) * found.psi.gap[-1]])
        slopes = np.diff(found.psi(at)) / np.diff(at)
        assert found.psi(0.0) == 0
        assert np.all(np.diff(slopes) <= 1e-9 * slopes[:-1])
        np.testing.assert_allclose(found.psi(found.gap[ok]), found.bound[ok])


def test_gap_and_speed_agree_with_differences():
    _, _, run = relu2_run()
    found = gflow.kl.desingularize(run)
    margin = np.asarray(run.map(gflow.margins.smoothed))
    here = found.resolved & (found.gap > 1e-7)
    np.testing.assert_allclose(
        -np.diff(found.gap[here]), np.diff(margin[here]), rtol=0.02, atol=1e-9
    )
    pinned = gflow.kl.desingularize(run, gflow.limit(run))
    np.testing.assert_allclose(found.gap[here], pinned.gap[here], rtol=1e-3)


def test_samples_without_dense_output_are_enough():
    _, _, run = relu2_run()
    dense = gflow.kl.desingularize(run)
    sparse = gflow.kl.desingularize(run.at(tau=np.asarray(run.tau)))
    assert abs(sparse.exponent - dense.exponent) < 0.01
    here = sparse.resolved
    assert np.all(sparse.bound[here] >= 0.99 * dense.remaining[here])


def test_wrong_input_is_refused():
    flow, _, run = linear_run()
    with pytest.raises(ValueError, match="`discord` must be positive"):
        gflow.kl.desingularize(run, discord=0.0)
    steepest = gflow.SteepestFlow(flow.loss, flow.x, flow.y, norm="linf")
    other = eqx.tree_at(lambda curve: curve.field.flow, run, steepest)
    with pytest.raises(ValueError, match=r"`curve.flow` must be a `gflow\.Grad"):
        gflow.kl.desingularize(other)
    toy, network, _ = relu2_run()
    short = solve(toy, network, 14.0, 1e-6)
    with pytest.raises(ValueError, match="`limit` must be certified"):
        gflow.kl.desingularize(short, gflow.limit(short))
    few = run.at(tau=np.asarray(run.tau)[-3:])
    with pytest.raises(ValueError, match="`curve` must have 8 samples"):
        gflow.kl.desingularize(few)


def test_pictures_show_the_power_law_and_the_bound():
    _, _, run = relu2_run()
    found = gflow.kl.desingularize(run)
    ax = gflow.plot.kl_speed(found)
    gap, law = map(np.asarray, ax.lines[-1].get_data())
    slope = np.diff(np.log(law)) / np.diff(np.log(gap))
    np.testing.assert_allclose(slope, found.exponent)
    limit = gflow.limit(run).direction
    away = run.map(lambda point: gflow.paths.rotation(point, limit))
    ax = gflow.plot.kl_path(found, distance=away)
    bound, path, angle = (np.asarray(line.get_ydata()) for line in ax.lines)
    assert len(path) == len(angle) == np.sum(found.resolved)
    assert np.all(found.bound[found.resolved] >= angle)
    assert bound[-1] >= path[0]
    assert bound[0] >= path[-1]
    with pytest.raises(ValueError, match="`found` must be what"):
        gflow.plot.kl_speed(run)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="`distance` must have one entry a sample"):
        gflow.plot.kl_path(found, distance=away[1:])
    plt.close("all")
