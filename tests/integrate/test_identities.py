"""Identities of margins and losses along whole runs, for both losses and two networks.

Each side of an identity is computed apart: one from the run (its dense output, its
loss, its times), the other from margins and gradients by NumPy, or by a diagnostic.
Runs carry errors of 1e-8 a step.
"""

import dataclasses
import functools
import itertools
import math

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import Exponential, Logistic, Until
from runs import densely, integral, linear_run, relu2_run


DEGREE = 3
RTOL = 1e-8


@functools.cache
def solved(name, loss):
    flow, network = getattr(gflow.problems, name)(loss())
    until = Until(log_margin_scale=69.0)
    run = gflow.solve(flow, network, until=until, rtol=RTOL, progress=False)
    return flow, network, run


RUNS = {
    "relu2, exponential": relu2_run,
    "relu2, logistic": lambda: solved("relu2", Logistic),
    "linear, exponential": lambda: solved("linear", Exponential),
    "linear, logistic": linear_run,
}
each_run = pytest.mark.parametrize("name", RUNS)


class Fine:
    """A run at fine steps from the first positive smoothed margin on, by NumPy.

    With z and J the margins and gradients at norm one, R = r^3, and for
    `alpha`, `big` (B), `shares` (q normalized by l'(alpha)) see `gflow.margins.growth`.
    """

    def __init__(self, name):
        self.flow, self.network, self.run = RUNS[name]()
        curve = densely(self.run, 9.0, 2001)
        # Before, the logarithm of alpha is near its pole, and too steep to integrate.
        log_sum = np.asarray(curve.log_loss) + math.log(len(self.flow.y))
        fitted = np.asarray(self.flow.loss.margin_of(jnp.asarray(log_sum))) > 1.0
        curve = self.run.at(tau=np.asarray(curve.tau)[fitted])
        self.curve, self.log_r = curve, np.asarray(curve.log_radius)
        leaves = jax.tree.leaves(curve.direction)
        count = len(self.log_r)
        self.theta = np.concatenate(
            [np.asarray(a).reshape(count, -1) for a in leaves], axis=1
        )
        jacobian = jax.jit(jax.vmap(curve.field.jacobian))
        z, self.jacobian = map(np.asarray, jacobian(jnp.asarray(self.theta)))
        self.scale = np.exp(DEGREE * self.log_r)
        self.z = self.scale[:, None] * z
        if isinstance(self.flow.loss, Exponential):
            self.alpha = -np.logaddexp.reduce(-self.z, axis=1)
            shares = np.exp(self.alpha[:, None] - self.z)
            self.log_slope = -self.alpha
        else:
            each = np.log1p(np.exp(-self.z))
            logs = np.where(self.z > 40, -self.z, np.log(np.maximum(each, 1e-300)))
            log_sum = np.logaddexp.reduce(logs, axis=1)
            sums = np.exp(np.maximum(log_sum, -40.0))
            self.alpha = np.where(log_sum < -40, -log_sum, -np.log(np.expm1(sums)))
            above = np.logaddexp(0.0, self.alpha)
            shares = np.exp(above[:, None] - np.logaddexp(0.0, self.z))
            self.log_slope = -above
        self.shares = shares
        self.big = np.sum(shares * self.z, axis=1)
        # The gradient of alpha in the weights, along them and across.
        pull = np.einsum("ti,tij->tj", shares, self.jacobian)
        along = np.sum(pull * self.theta, axis=1)
        across = np.linalg.norm(pull - along[:, None] * self.theta, axis=1)
        unit = self.scale / np.exp(self.log_r)
        self.along, self.across = unit * along, unit * across
        self.tangent = across / along

    def from_run(self, fn):
        """A diagnostic at each sample."""
        q = self.shares / np.sum(self.shares, axis=1, keepdims=True)

        def at_exact_weights(point, q):
            return fn(dataclasses.replace(point, weights=q))

        return jax.tree.map(np.asarray, self.curve.map(at_exact_weights, q))


fine = functools.cache(Fine)


def adds_up(rate, total, log_r):
    """Whether a rate per log r, integrated, is the change of a quantity of the run."""
    grown = integral(rate, log_r)
    change = total - total[0]
    assert np.max(np.abs(change)) > 0.1
    size = np.maximum(1.0, np.abs(change))
    assert np.max(np.abs(grown - change) / size) < 40 * RTOL


@each_run
def test_alpha_grows_by_its_law(name):
    # d alpha / d tau = L B (1 + |dtheta/dtau|^2)
    it = fine(name)
    adds_up(DEGREE * it.big * (1 + it.tangent**2), it.alpha, it.log_r)


@each_run
def test_the_smoothed_margin_grows_by_its_law(name):
    # d log gamma~ / d tau = L (B / alpha - 1) + L (B / alpha) |dtheta/dtau|^2
    it = fine(name)
    ratio = it.big / it.alpha
    radial, spherical = DEGREE * (ratio - 1), DEGREE * ratio * it.tangent**2
    log_margin = np.log(it.alpha) - DEGREE * it.log_r
    adds_up(radial + spherical, log_margin, it.log_r)
    found = it.from_run(gflow.margins.growth)
    size = np.max(np.abs(radial))
    assert np.max(np.abs(found.radial - radial)) < 1e-11 * size
    assert np.max(np.abs(found.spherical - spherical)) < 1e-11 * size
    # Lyu and Li: at least L |dtheta/dtau|^2.
    assert np.all(radial + spherical >= DEGREE * it.tangent**2)


@each_run
def test_the_path_grows_by_the_tangent(name):
    # zeta' = tan of the angle between weights and negative gradient.
    it = fine(name)
    lengths = gflow.paths.length(it.curve)
    chords = integral(it.tangent, it.log_r)
    assert lengths[-1] > 0.1
    # Chords are shorter than arcs by the square of the steps.
    assert np.max(np.abs(lengths - chords)) < 1e-5 * lengths[-1]
    turning, beta = it.from_run(
        lambda point: (gflow.kkt.turning(point), gflow.kkt.alignment(point))
    )
    assert np.max(np.abs(turning / it.tangent - 1)) < 1e-7
    assert np.max(np.abs(beta - 1 / np.sqrt(1 + it.tangent**2))) < 1e-14


@each_run
def test_time_runs_by_its_law(name):
    # d log t / d tau = exp(2 log r - log(L B) - log|l'(alpha)| - log t), mean loss.
    it = fine(name)
    rate = np.log(len(it.flow.y)) + 2 * it.log_r - np.log(DEGREE * it.big)
    log_t = np.asarray(it.curve.log_t)
    log_rate = rate - it.log_slope - log_t
    adds_up(np.exp(log_rate), log_t, it.log_r)


@each_run
def test_the_margin_grows_along_the_path_by_its_parts(name):
    # d gamma~ / d zeta = r (|P grad gamma~| + |d_r gamma~| |d_r Loss| / |P grad Loss|)
    it = fine(name)
    loss, margin = it.from_run(
        lambda point: (
            gflow.kkt.loss_gradient(point),
            gflow.kkt.smoothed_margin_gradient(point),
        )
    )
    ratio = np.exp(margin.log_radial + loss.log_radial - loss.log_spherical)
    rate = np.exp(it.log_r) * (np.exp(margin.log_spherical) + ratio)
    smoothed = it.alpha / it.scale
    adds_up(rate * it.tangent / smoothed, np.log(smoothed), it.log_r)
    # And the parts by NumPy.
    log_slope = it.log_slope - math.log(len(it.flow.y))
    assert np.all(loss.sign == -1)
    for found, exact in (
        (loss.log_radial, log_slope + np.log(it.along)),
        (loss.log_spherical, log_slope + np.log(it.across)),
        (margin.log_radial, np.log(DEGREE * (it.big - it.alpha) / it.scale) - it.log_r),
        (margin.log_spherical, np.log(it.across / it.scale)),
    ):
        assert np.max(np.abs(found - exact)) < 1e-7


@each_run
def test_bounds_between_margins(name):
    it = fine(name)
    n = len(it.flow.y)
    exponential = isinstance(it.flow.loss, Exponential)
    gap = np.min(it.z, axis=1) - it.alpha
    extra = 0.0 if exponential else math.log(1 / math.log(2))
    assert np.all(gap >= -1e-12)
    assert np.all(gap <= math.log(n) + extra)
    excess = it.big - it.alpha
    most = math.log(n) if exponential else 2 * math.log(n) + 1
    assert np.all((excess >= 0) & (excess <= most))
    if exponential:
        q = it.shares
        entropy = -np.sum(q * np.log(np.maximum(q, 1e-300)), axis=1)
        assert np.max(np.abs(excess - entropy)) < 1e-9
    total = np.sum(it.shares, axis=1)
    assert np.all(total >= 1 - 1e-11)
    assert np.all(total <= (1 + 1e-11 if exponential else 2 * math.log(2)))
    smoothed, normalized = it.from_run(
        lambda point: (gflow.margins.smoothed(point), gflow.margins.normalized(point))
    )
    assert np.max(np.abs(smoothed * it.scale / it.alpha - 1)) < 1e-12
    assert np.max(np.abs(normalized * it.scale / np.min(it.z, axis=1) - 1)) < 1e-13


@each_run
def test_lyu_and_li_bound_the_turning_by_the_growth_of_the_margin(name):
    # The integral of 1 / beta^2 - 1 is at most log(gamma~_2 / gamma~_1) / L.
    it = fine(name)
    smoothed = np.log(it.alpha) - DEGREE * it.log_r
    turned = np.diff(integral(it.tangent**2, it.log_r)[::100])
    grown = np.diff(smoothed[::100]) / DEGREE
    assert np.all(turned <= grown + 1e-9)


@each_run
def test_the_kkt_residual_is_that_of_the_alignment_on_the_whole_run(name):
    """epsilon = gamma^(-1/L) sqrt(2 (1 - beta)), by the residual's own definition."""
    _, _, run = RUNS[name]()
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(run.direction)]
    theta = np.concatenate([a.reshape(len(a), -1) for a in leaves], axis=1)
    jacobian = jax.jit(jax.vmap(run.field.jacobian))
    z, gradients = map(np.asarray, jacobian(jnp.asarray(theta)))
    margin = np.min(z, axis=1)
    found, beta = run.map(
        lambda point: (gflow.kkt.residual(point), gflow.kkt.alignment(point))
    )
    fitted = margin > 0
    assert np.sum(fitted) > 50
    # At w = theta / margin^(1/L), where gradients are margin^(1/L - 1) as large.
    weights = np.asarray(found.multipliers)
    pull = np.einsum("ti,tij->tj", weights, gradients)
    size = margin[fitted, None]
    w = theta[fitted] * size ** (-1 / DEGREE)
    drift = w - pull[fitted] * size ** (1 / DEGREE - 1)
    residual = np.linalg.norm(drift, axis=1)
    length = np.linalg.norm(w, axis=1)
    assert np.all(weights[fitted] >= 0)
    stationarity = np.asarray(found.stationarity)[fitted]
    assert np.max(np.abs(stationarity - residual) / length) < 1e-14
    angle = np.sqrt(2 * np.maximum(1 - np.asarray(beta)[fitted], 0.0))
    # 1 - beta has an absolute error of 1e-16.
    assert np.max(np.abs(stationarity - length * angle) / length) < 3e-8
    clear = angle > 1e-3
    exact = (length * angle)[clear]
    assert np.max(np.abs(stationarity[clear] / exact - 1)) < 1e-9


@each_run
def test_sharp_constants(name):
    """Both constants of the rates at their limits, by the exact margin of the limit.

    What is missing at finite log t is bounded by what the margin still lacks, and by
    4 log log t / log t.
    """
    flow, _, run = RUNS[name]()
    margin = gflow.limit(run).margin
    if name.startswith("linear"):
        exact = gflow.reference.hard_margin(flow.x, flow.y).margin / 3**1.5
        assert abs(margin / exact - 1) < 1e-12
    log_t = np.asarray(run.log_t)
    here = np.asarray(run.map(gflow.margins.normalized))
    radius = gflow.paths.log_radius_constant(run) + math.log(margin) / 3
    late = (log_t > 1e3) & (log_t < 1e300)
    lacking = np.log(margin / here[late])
    small = np.log(log_t[late]) / log_t[late]
    assert np.all(np.abs(radius[late]) < lacking + 4 * small + 1e-13)
    assert abs(radius[late][-1]) < 1e-6
    loss = (
        gflow.paths.log_loss_constant(run) + 2 * math.log(3) + 2 / 3 * math.log(margin)
    )
    early = (log_t > 1e3) & (log_t < 1e9)
    lacking = np.log(margin / here[early])
    small = np.log(log_t[early]) / log_t[early]
    rounding = 1e-12 * log_t[early]
    assert np.sum(early) > 5
    assert np.all(np.abs(loss[early]) < 4 * lacking + 4 * small + rounding)
    assert np.all(np.isnan(loss[~((log_t > 0) & (log_t < 1e9))]))
    assert np.all(np.isnan(radius[~((log_t > 0) & (log_t < np.inf))]))


def test_layers_of_a_linear_network_keep_their_norms_together():
    """The increments of all squared norms are equal: d|W_k|^2/dt = 2 sum g_i z_i."""
    _, network, run = linear_run()
    squares = np.exp(2 * np.asarray(run.log_radius))
    layers = [np.asarray(w).reshape(len(squares), -1) for w in run.direction.weights]
    norms = [squares * np.sum(w**2, axis=1) for w in layers]
    starts = [float(jnp.sum(w**2)) for w in jax.tree.leaves(network)]
    for (a, b), (c, d) in zip(
        itertools.pairwise(norms), itertools.pairwise(starts), strict=True
    ):
        assert np.max(np.abs((a - c) - (b - d)) / squares) < 10 * RTOL
