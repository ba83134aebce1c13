"""Ji and Telgarsky's layers of deep linear networks, two to five of them."""

import functools
import itertools

import gflow
import numpy as np
import pytest
from gflow import Until
from gflow.nn import DeepLinear


RTOL = 1e-7
each_depth = pytest.mark.parametrize("depth", [2, 3, 4, 5])


def solved(weights):
    flow, _ = gflow.problems.linear()
    until = Until(log_margin_scale=60.0)
    start = DeepLinear.from_weights(weights)
    return gflow.solve(flow, start, until=until, rtol=RTOL, progress=False)


@functools.cache
def unbalanced(depth):
    random = np.random.default_rng(depth)
    shapes = [(6, 10), *[(6, 6)] * (depth - 2), (6,)]
    weights = [random.normal(size=shape) / np.sqrt(shape[-1]) for shape in shapes]
    return weights, solved(weights)


@functools.cache
def balanced(depth):
    """Layers of rank one and of equal norm, each aligned with the next."""
    random = np.random.default_rng(depth)
    units = [random.normal(size=size) for size in (10, *[6] * (depth - 1))]
    units = [unit / np.linalg.norm(unit) for unit in units]
    layers = [np.outer(left, right) for right, left in itertools.pairwise(units)]
    weights = [*layers, units[-1]]
    return weights, solved(weights)


def layers_of(curve):
    """The layers as matrices, at their true size, in units of r."""
    return [
        np.asarray(w) if w.ndim == 3 else np.asarray(w)[:, None]
        for w in curve.direction.weights
    ]


@each_depth
def test_a_balanced_start_stays_of_rank_one_and_aligned(depth):
    weights, curve = balanced(depth)
    assert gflow.layers.imbalance(curve[0]) < 1e-14
    residuals, alignments = curve.map(
        lambda point: (
            gflow.layers.rank_one_residuals(point),
            gflow.layers.alignments(point),
        )
    )
    assert len(curve.tau) > 30
    assert np.max(residuals) < 1e-14
    assert np.max(np.abs(alignments - 1)) < 1e-14
    # The singular vectors between layers do not move at all; the first input does.
    for layer, unit in zip(layers_of(curve)[1:], weights[1:], strict=True):
        way = np.sum(layer * unit, axis=(1, 2))
        assert np.max(np.abs(layer - way[:, None, None] * unit)) < 1e-14
    # That the norms stay equal is kept to the tolerance alone.
    norms = np.stack([np.sum(w**2, axis=(1, 2)) for w in layers_of(curve)], axis=1)
    assert np.max(np.abs(norms - 1 / depth)) < 20 * RTOL


@each_depth
def test_an_unbalanced_start_obeys_the_bounds_at_every_step(depth):
    weights, curve = unbalanced(depth)
    first = [np.atleast_2d(w) for w in weights]
    d = max(np.sum(w**2) for w in first) - np.sum(first[-1] ** 2)
    d += sum(
        np.linalg.norm(before @ before.T - after.T @ after, 2)
        for before, after in itertools.pairwise(first)
    )
    assert abs(gflow.layers.imbalance(curve[0]) / d - 1) < 1e-14
    square = np.exp(2 * np.asarray(curve.log_radius))
    factors = [np.linalg.svd(w, full_matrices=False) for w in layers_of(curve)]
    error = 1e-14  # of rounding, in units of r^2
    for _, values, _ in factors:
        assert np.all(np.sum(values[:, 1:] ** 2, axis=1) <= d / square + error)
    tops = [np.linalg.norm(w, 2) ** 2 for w in first]
    for k, (before, after) in enumerate(itertools.pairwise(factors)):
        cosine = np.sum(before[0][:, :, 0] * after[2][:, 0], axis=1)
        slack = (d + tops[k] + tops[k + 1]) / square + error
        assert np.all(cosine**2 >= 1 - slack / after[1][:, 0] ** 2)
    # They say something: from no bound at all to one at rounding.
    assert d / square[0] > 0.1
    assert d / square[-1] < 1e-9
    # And the diagnostics are these quantities.
    residuals, alignments = curve.map(
        lambda point: (
            gflow.layers.rank_one_residuals(point),
            gflow.layers.alignments(point),
        )
    )
    for k, (_, values, _) in enumerate(factors):
        share = values / np.linalg.norm(values, axis=1, keepdims=True)
        rest = np.hypot(1 - share[:, 0], np.linalg.norm(share[:, 1:], axis=1))
        assert np.max(np.abs(residuals[:, k] - rest)) < 1e-14
    for k, (before, after) in enumerate(itertools.pairwise(factors)):
        cosine = np.abs(np.sum(before[0][:, :, 0] * after[2][:, 0], axis=1))
        assert np.max(np.abs(alignments[:, k] - cosine)) < 1e-12
    assert np.min(alignments[-1]) > 1 - 1e-12
    # The layers are of equal norm by now.
    assert np.max(residuals[-1]) ** 2 < 2 * depth * d / square[-1] + 1e-14


@each_depth
def test_what_balance_conserves_drifts_by_the_tolerance(depth):
    weights, curve = unbalanced(depth)
    square = np.exp(2 * np.asarray(curve.log_radius))[:, None, None]
    first = [np.atleast_2d(w) for w in weights]
    pairs = itertools.pairwise(layers_of(curve))
    for (before, after), (a, b) in zip(pairs, itertools.pairwise(first), strict=True):
        now = after.swapaxes(1, 2) @ after - before @ before.swapaxes(1, 2)
        start = b.T @ b - a @ a.T
        assert np.max(np.abs(now - start / square)) < 20 * RTOL
