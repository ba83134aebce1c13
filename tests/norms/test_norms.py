"""Norms of a user's own, in which a flow is steepest."""

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from gflow.norms import _ready
from hypothesis import given, strategies as st
from jax.flatten_util import ravel_pytree


class PNorm(gflow.norms.AbstractNorm):
    p: float

    def __call__(self, vector):
        return jnp.sum(jnp.abs(vector) ** self.p) ** (1 / self.p)

    def direction(self, pull):
        q = self.p / (self.p - 1)
        size = jnp.sum(jnp.abs(pull) ** q) ** (1 / q)
        return jnp.sign(pull) * jnp.abs(pull) ** (q - 1) * size ** (2 - q)


class Weighted(gflow.norms.AbstractNorm):
    """The Euclidean norm with a price for each weight."""

    prices: jax.Array

    def __call__(self, vector):
        return jnp.sqrt(jnp.sum(self.prices * vector**2))

    def direction(self, pull):
        return pull / self.prices


def data(samples=9, features=4, seed=3):
    random = np.random.default_rng(seed)
    x, truth = random.normal(size=(samples, features)), random.normal(size=features)
    return x, np.sign(x @ truth)


def largest_margin(x, y, p):
    """The largest margin of a plane of p-norm one, by SciPy."""
    start = gflow.reference.hard_margin(x, y).weights
    found = scipy.optimize.minimize(
        lambda w: np.sum(np.abs(w) ** p) / p,
        start,
        jac=lambda w: np.sign(w) * np.abs(w) ** (p - 1),
        constraints={"type": "ineq", "fun": lambda w: y * (x @ w) - 1},
        options={"ftol": 1e-15, "maxiter": 500},
    )
    assert found.success
    return 1 / np.sum(np.abs(found.x) ** p) ** (1 / p)


@given(p=st.floats(1.15, 2.0))
def test_p_norms_keep_the_contract(p):
    gflow.testing.check_norm(PNorm(p), weights=7)


@pytest.mark.parametrize("name", ["l2", "linf", "l1", "spectral"])
@pytest.mark.parametrize("smoothing", [1e-3, 0.5])
def test_ready_norms_keep_it(name, smoothing):
    norm = _ready.NORMS[name](smoothing, ((3, 4), (2, 2, 2), (5,)))
    gflow.testing.check_norm(norm, weights=25)


@pytest.mark.parametrize(("broken", "says"), [
    (lambda self, v: jnp.sum(jnp.abs(v) ** self.p), "times as large"),
    (lambda self, v: jnp.sum(jnp.abs(v) ** 0.5) ** 2, "a sum must be at most"),
    (lambda self, v: jnp.abs(v[0]), "positive but at zero"),
    (lambda self, v: 1.1 * PNorm(self.p)(v), r"<v, D\(v\)>"),
    (lambda self, v: jnp.abs(v), "float64 scalar"),
])  # fmt: skip
def test_a_broken_norm_is_told_so(broken, says):
    kind = type("Broken", (PNorm,), {"__call__": broken})
    with pytest.raises(AssertionError, match=says):
        gflow.testing.check_norm(kind(1.5))


@pytest.mark.parametrize(("method", "broken", "says"), [
    ("direction", lambda self, v: v * jnp.sum(v**2) / PNorm(1.5)(v) ** 2, "steepest"),
    ("direction", lambda self, v: v * jnp.abs(v), "times as much|<v"),
    ("tangents", lambda self, v, rows: rows, "derivative"),
])  # fmt: skip
def test_a_broken_motion_is_told_so(method, broken, says):
    parents = (PNorm, gflow.norms.AbstractSlopedNorm)
    parents = parents if method == "tangents" else parents[:1]
    kind = type("Broken", parents, {method: broken})
    with pytest.raises(AssertionError, match=says):
        gflow.testing.check_norm(kind(1.5))


@pytest.mark.parametrize("p", [1.3, 1.7])
def test_the_flow_in_a_p_norm_finds_the_largest_margin_in_it(p):
    x, y = data()
    start = gflow.nn.DeepLinear.from_weights([0.1 * np.ones(4)])
    flow = gflow.SteepestFlow(gflow.Exponential(), x, y, norm=PNorm(p))
    until = gflow.Until(log_t=1e6)
    curve = gflow.solve(flow, start, until=until, progress=False)
    margins = curve.map(gflow.margins.steepest)
    late = np.isfinite(margins) & (margins > 0)
    assert np.all(np.diff(margins[late]) >= -1e-9)
    found = float(gflow.margins.in_norm(curve[-1], PNorm(p)))
    # The margin is short by log n over the size of the weights, which is log t.
    assert 0 <= largest_margin(x, y, p) / found - 1 <= 20 / 1e6
    assert float(gflow.kkt.bregman(curve[-1], PNorm(p))) <= 1e-4


def test_a_weighted_norm_is_the_gradient_flow_of_weights_rescaled():
    x, y = data(samples=6)
    prices, start = np.array([1.0, 4.0, 0.25, 9.0]), np.array([0.1, 0.2, -0.1, 0.3])
    loss, until = gflow.Logistic(), gflow.Until(log_t=6.0)
    scaled = gflow.SteepestFlow(loss, x, y, norm=Weighted(jnp.asarray(prices)))
    plain = gflow.GradientFlow(loss, x / np.sqrt(prices), y)
    ends = [
        gflow.solve(flow, gflow.nn.DeepLinear.from_weights([w]), until=until,
                    progress=False)[-1].network
        for flow, w in ((scaled, start), (plain, start * np.sqrt(prices)))
    ]  # fmt: skip
    one, other = (np.asarray(ravel_pytree(end)[0]) for end in ends)
    np.testing.assert_allclose(one * np.sqrt(prices), other, rtol=1e-4)


def test_smoothing_is_not_for_norms_of_ones_own():
    x, y = data()
    with pytest.raises(ValueError, match="`smoothing` is for the norms that gflow"):
        gflow.SteepestFlow(gflow.Logistic(), x, y, norm=PNorm(1.5), smoothing=0.1)
    with pytest.raises(ValueError, match=r"or a `gflow\.norms\.AbstractNorm`"):
        gflow.SteepestFlow(gflow.Logistic(), x, y, norm="l3")
    with pytest.raises(ValueError, match="Call it to make an instance"):
        gflow.testing.check_norm(PNorm)


def test_a_file_knows_a_norm_of_ones_own(tmp_path):
    x, y = data()
    start = gflow.nn.DeepLinear.from_weights([0.1 * np.ones(4)])
    flow = gflow.SteepestFlow(gflow.Logistic(), x, y, norm=PNorm(1.5))
    path = tmp_path / "run.npz"
    until = gflow.Until(log_t=2.0)
    gflow.solve(flow, start, until=until, progress=False, checkpoint=path)
    other = gflow.SteepestFlow(gflow.Logistic(), x, y, norm=PNorm(1.6))
    with pytest.raises(ValueError, match="as in the file"):
        gflow.resume(path, other, start, until=gflow.Until(log_t=3.0))
    curve = gflow.resume(path, flow, start, until=gflow.Until(log_t=3.0))
    assert curve.log_t[-1] == 3.0
