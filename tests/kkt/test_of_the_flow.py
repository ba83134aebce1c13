"""Diagnostics of a flow's own points: unseen samples, other tails, recorded gates."""

import math

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from tiers import but_slow


def solved(flow, network, **until):
    return gflow.solve(
        flow, network, until=gflow.Until(**until), progress=False, throw=False
    )


@pytest.mark.parametrize("seed", [0, 5])
def test_the_gradient_is_that_of_the_loss_though_some_sample_is_unseen(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(8, 2)), np.sign(rng.normal(size=8))
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    curve = solved(flow, gflow.nn.MLP(2, (3,), key=jax.random.key(seed)), log_t=1.0)
    point = curve[-1]
    assert np.any(point.weights == 0)
    assert not np.any(curve.slides)
    slope = jax.grad(lambda network: jnp.exp(flow.log_loss(network)))(point.network)
    slope, theta = (ravel_pytree(tree)[0] for tree in (slope, point.direction))
    found = gflow.kkt.loss_gradient(point)
    along = found.sign * jnp.exp(found.log_radial)
    np.testing.assert_allclose(along, jnp.dot(slope, theta), rtol=1e-6)
    across = jnp.linalg.norm(slope - jnp.dot(slope, theta) * theta)
    np.testing.assert_allclose(jnp.exp(found.log_spherical), across, rtol=1e-6)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 3.0])
def test_the_gradient_is_known_as_far_as_floats_reach(beta):
    r"""And minus infinity beyond, where it or $R$ has a logarithm past 1e200."""
    x, y = np.array([[1.0, 0.3], [0.8, -0.1]]), np.array([1.0, 1.0])
    loss = gflow.ExponentialTail(beta)
    flow = gflow.GradientFlow(loss, x, y)
    w = np.array([0.8, 0.6])

    class Linear(eqx.Module):
        w: jax.Array

        def __call__(self, x):
            return self.w @ x

    network = Linear(jnp.asarray(w))
    for power in (3.0, 200.0, 440.0, 470.0, 600.0):  # of e, in the largest number
        log_scale = power / max(beta, 1.0)
        point = gflow.point(
            flow, network, log_radius=log_scale, weights=jnp.array([1e-300, 1.0])
        )
        found = float(gflow.kkt.loss_gradient(point).log_radial)
        # By the smallest margin alone, whose log loss is -z^beta for z > 1.
        log_z = log_scale + np.log(np.min(x @ w))
        log_slope = math.log(beta) + (beta - 1) * log_z
        expected = -np.exp(beta * log_z) + log_slope + np.log(np.min(x @ w) / 2)
        if power < 460:
            assert abs(found / expected - 1) < (0.3 if power == 3.0 else 1e-6)
        else:
            assert found == -np.inf


def test_a_lost_sample_leaves_no_margin_to_grow():
    x, y = np.array([[1.0, 0.2], [0.4, 1.0], [-1.0, -0.6]]), np.array([1.0, 1.0, 1.0])
    w = jnp.array([[0.6, 0.3], [0.2, 0.5]])
    network = gflow.nn.MLP.from_weights([w, jnp.array([0.7, 0.4])])
    flow = gflow.GradientFlow(gflow.Exponential(), x, y)
    end = solved(flow, network, log_margin_scale=20.0)[-1]
    assert end.weights[2] == 0  # no neuron ever sees it
    assert np.all(np.isnan(jnp.stack(gflow.margins.growth(end))))
    found = gflow.kkt.loss_gradient(end)
    # The loss of the others is 2/3 exp(-R m): so is the gradient, but for R.
    margin = np.sort(np.asarray(flow.margins(end.direction)))[1]
    expected = -math.exp(2 * end.log_radius) * margin
    assert abs(float(found.log_radial) / expected - 1) < 1e-3


@pytest.mark.parametrize("beta", but_slow([0.5, 2.0, 3.0], 0.5))
def test_growth_has_digits_late_for_every_tail(beta):
    """At the limit shares of the loss are those of q: L H(q) / (R m)^beta is left."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(8, 3))
    flow = gflow.GradientFlow(gflow.ExponentialTail(beta), x, np.sign(x[:, 0]))
    network = gflow.nn.MLP(3, (4,), power=2, leak=-1.0, key=jax.random.key(1))
    curve = solved(flow, network, log_margin_scale=80.0)
    limit = gflow.limit(curve)
    assert limit.verdict == "local maximum"
    q = np.asarray(limit.point.weights)
    entropy = -np.sum(q[q > 0] * np.log(q[q > 0]))
    log_alpha = float(curve.degree * curve.log_radius[-1]) + math.log(limit.margin)
    expected = curve.degree * entropy * math.exp(-beta * log_alpha)
    assert abs(gflow.margins.growth(curve[-1]).radial / expected - 1) < 1e-2
    assert abs(limit.stability.log_log_t / math.log(curve.log_t[-1]) - 1) < 1e-6
    whole = curve.map(gflow.margins.growth)
    assert np.nanmin(whole.radial) >= 0
    found = curve.map(gflow.kkt.smoothed_margin_gradient)
    assert np.all(found.sign[np.isfinite(whole.radial)] >= 0)
    # And before, it is what the smoothed margin does.
    fine = curve.refined(8)
    margin = np.asarray(fine.map(gflow.margins.smoothed))
    known = margin > 0
    rate = np.diff(np.log(margin[known])) / np.diff(np.asarray(fine.log_radius)[known])
    parts = fine.map(gflow.margins.growth)
    total = np.asarray(parts.radial + parts.spherical)[known]
    off = np.abs(rate / (total[1:] / 2 + total[:-1] / 2) - 1)
    assert np.nanmedian(off[np.abs(rate) > 1e-5]) < 2e-3


def test_a_limit_in_another_norm_is_refused():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 3))
    flow = gflow.SteepestFlow(gflow.Logistic(), x, np.sign(x[:, 0]), norm="linf")
    network = gflow.nn.MLP(3, (2,), leak=1.0, key=jax.random.key(0))
    curve = solved(flow, network, log_margin_scale=10.0)
    with pytest.raises(ValueError, match="gradient flow, but is steepest"):
        gflow.limit(curve)


@pytest.fixture(scope="module")
def slid():
    """A curve of ReLUs that slides along kinks for long."""
    rng = np.random.default_rng(11)
    x, y = rng.normal(size=(9, 2)), np.sign(rng.normal(size=9))
    flow = gflow.GradientFlow(gflow.Exponential(), x, y)
    curve = solved(
        flow, gflow.nn.MLP(2, (8,), key=jax.random.key(3)), log_margin_scale=30.0
    )
    assert np.sum(curve.slides[-1]) > 2
    return curve


def test_a_unit_at_its_kink_is_inactive(slid):
    found = np.asarray(slid.map(gflow.neurons.patterns))
    assert not np.any(found[slid.slides])
    clear = ~slid.slides
    u = np.einsum("tji,ni->tnj", np.asarray(slid.direction.weights[0]), slid.flow.x)
    away = clear & (np.abs(u) > 1e-9)
    assert np.array_equal(found[away], (u > 0)[away])
    same = [k for k in range(len(slid) - 1) if np.array_equal(*found[k : k + 2])]
    assert gflow.neurons.pattern_distance(slid[same[-1] + 1], slid[same[-1]]) == 0


def test_tangent_kernels_are_of_the_gates_of_the_curve(slid):
    for k in (len(slid) // 2, -1):
        point, on = slid[k], slid.gates[k]
        w, a = (np.asarray(m) for m in point.direction.weights)
        x, y = np.asarray(slid.flow.x), np.asarray(slid.flow.y)
        inner = on[:, :, None] * a[None, :, None] * x[:, None, :]
        outer = on * (x @ w.T)
        rows = np.concatenate([inner.reshape(len(x), -1), outer], axis=1) * y[:, None]
        np.testing.assert_allclose(
            gflow.kernels.tangent(point), rows @ rows.T, atol=1e-9
        )


def test_what_slides_ties_however_near():
    """A kink behind others is kept to within the tolerance, not to rounding."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(14, 4))
    flow = gflow.GradientFlow(gflow.Logistic(), x, np.sign(x[:, 0] * x[:, 1] + 0.2))
    network = gflow.nn.MLP(4, (8, 6), key=jax.random.key(1))
    curve = solved(flow, network, log_margin_scale=60.0)
    assert np.any(curve.slides[-1])
    for point in curve[:: len(curve) // 8]:
        if not np.any(point.slides >= 0):
            continue
        own = gflow.kkt.turning(point)
        shortest = gflow.kkt.min_norm_subgradient(point).element
        assert gflow.kkt.turning(point, shortest) <= own * (1 + 1e-5) + 1e-9
    end = curve[-1]
    best = gflow.kkt.clarke(end, math.inf).stationarity
    assert best <= gflow.kkt.residual(end).stationarity * (1 + 1e-6) + 1e-12
