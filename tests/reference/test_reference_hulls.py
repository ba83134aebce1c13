"""Points of least norm: of hulls, of cones, and of kernels."""

import itertools
import math

import numpy as np
import pytest
from gflow import data
from gflow.reference import (
    global_margin,
    hard_margin,
    kernel_margin,
    min_norm_point,
    neuron_kernel_margin,
    nonnegative_multipliers,
)
from scipy.integrate import dblquad
from scipy.optimize import lsq_linear, minimize
from scipy.stats import norm


@pytest.mark.parametrize(("count", "size"), [(4, 3), (30, 5), (50, 40), (8, 200)])
def test_wolfes_point_is_the_hard_margin_point(count, size):
    points = np.random.default_rng(count).normal(size=(count, size)) + 1.0
    found = min_norm_point(points)
    other = hard_margin(points, np.ones(count))
    assert np.allclose(found.point, other.direction * other.margin, rtol=0, atol=1e-12)
    assert math.isclose(found.norm, other.margin, rel_tol=1e-13)
    assert np.all(found.weights > 0)
    assert math.isclose(np.sum(found.weights), 1.0, rel_tol=1e-14)
    assert np.allclose(found.weights @ found.corners, found.point, rtol=0, atol=1e-14)


def test_a_hull_around_the_origin_contains_it():
    points = np.random.default_rng(0).normal(size=(40, 3))
    found = min_norm_point(points)
    assert found.norm < 1e-14
    assert len(found.corners) <= 4


def test_an_oracle_finds_the_point_among_a_million_corners():
    # A cube and a shift: the nearest point of the box is the clipped origin.
    shift = np.linspace(-3.0, 3.0, 20)
    found = min_norm_point(lambda d: shift - np.sign(d) - (d == 0), shift + 1.0)
    expected = np.sign(shift) * np.maximum(np.abs(shift) - 1, 0)
    assert np.allclose(found.point, expected, rtol=0, atol=1e-13)
    assert found.oracle_calls < 200


def test_an_oracle_and_its_points_agree():
    points = np.array(list(itertools.product([-1.0, 1.0], repeat=6))) + 0.9
    points[:, 0] += 1.0
    listed = min_norm_point(points)
    asked = min_norm_point(lambda d: points[np.argmin(points @ d)], points[-1])
    assert np.allclose(listed.point, asked.point, rtol=0, atol=1e-13)


def test_the_gap_bounds_the_distance():
    points = np.random.default_rng(1).normal(size=(60, 10)) + 0.5
    exact = min_norm_point(points).point
    rough = min_norm_point(points, tolerance=1e-2)
    assert 0 < np.sum((rough.point - exact) ** 2) <= rough.gap


def test_bad_sets_are_named():
    with pytest.raises(ValueError, match="`start` must be a point of the set"):
        min_norm_point(lambda d: d)
    with pytest.raises(ValueError, match=r"`points` must have shape .* \(3,\)"):
        min_norm_point([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"`start` must have shape \(2,\)"):
        min_norm_point([[1.0, 2.0]], [1.0])
    with pytest.raises(RuntimeError, match="`max_steps` = 1 oracle calls"):
        min_norm_point([[1.0, 1.0], [1.0, -1.0]], max_steps=1)


@pytest.mark.parametrize("seed", range(5))
def test_multipliers_are_those_of_bounded_least_squares(seed):
    random = np.random.default_rng(seed)
    gradients, vector = random.normal(size=(7, 12)), random.normal(size=12)
    found = nonnegative_multipliers(vector, gradients)
    other = lsq_linear(gradients.T, vector, (0.0, np.inf), method="bvls", tol=1e-15)
    assert np.allclose(found, other.x, rtol=0, atol=1e-13)
    slopes = gradients @ (vector - found @ gradients)
    assert np.all(slopes <= 1e-13)
    assert np.max(np.abs(slopes[found > 0]), initial=0.0) < 1e-13


def test_multipliers_of_a_wrong_shape_are_refused():
    with pytest.raises(ValueError, match="`gradients` must have shape"):
        nonnegative_multipliers([1.0, 2.0], [[1.0], [2.0]])


def test_the_kernel_margin_is_the_least_norm_of_mixtures():
    gradients = np.random.default_rng(0).normal(size=(6, 10)) + 0.5
    found = kernel_margin(gradients)
    assert math.isclose(found.margin, min_norm_point(gradients).norm, rel_tol=1e-13)
    assert math.isclose(found.bound, found.margin, rel_tol=1e-14)
    assert math.isclose(np.min(gradients @ found.direction), found.margin)
    assert math.isclose(np.linalg.norm(found.direction), 1.0)


def test_neurons_that_move_alone_have_the_margin_of_a_cone_program():
    """SciPy's SLSQP on the same convex problem, with margins of both sides."""
    gradients = np.random.default_rng(2).normal(size=(5, 6, 3)) + 0.4
    found = neuron_kernel_margin(gradients)

    def value(q):
        return np.mean(np.linalg.norm(np.tensordot(q, gradients, axes=1), axis=1))

    other = minimize(
        value,
        np.full(5, 0.2),
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda q: np.sum(q) - 1},
        method="SLSQP",
        options={"ftol": 1e-15},
    )
    assert math.isclose(found.margin, other.fun, rel_tol=1e-8)
    assert found.margin <= found.bound <= found.margin * (1 + 2e-8)
    assert np.all(np.linalg.norm(found.direction, axis=1) <= 1 + 1e-14)


def test_neurons_with_one_weight_each_are_a_linear_program():
    rows = np.random.default_rng(3).normal(size=(12, 5)) @ np.diag([3, 1, 1, 1, 1])
    y = np.sign(rows @ np.ones(5))
    rows = y[:, None] * rows
    # Norms of one weight have kinks: rounding there leaves more than elsewhere.
    found = neuron_kernel_margin(rows[:, :, None], tolerance=1e-6)
    other = hard_margin(rows, np.ones(12), norm="linf").margin / 5
    assert found.margin <= other * (1 + 1e-12) <= found.bound * (1 + 2e-12)
    assert found.bound <= found.margin * (1 + 2e-6)


def parity_gradients(features, count, seed):
    """Gradients of y a relu(<v, x>) in (a, v), at Gaussian neurons."""
    x, y = data.parity(features)
    random = np.random.default_rng(seed)
    v, a = random.normal(size=(count, features)), random.normal(size=count)
    inner = x @ v.T
    outer = np.maximum(inner, 0.0)[:, :, None]
    inside = (a * (inner > 0))[:, :, None] * x[:, None, :]
    return y[:, None, None] * np.concatenate([outer, inside], axis=2)


@pytest.mark.parametrize(
    ("features", "margin", "digit", "draws"),
    [(4, 0.156, 1e-3, 40_000), (8, 0.0701, 1e-4, 8_000)],
)
def test_the_tangent_margin_of_parity(features, margin, digit, draws):
    """As published, to its digits and the error of the draw.

    By symmetry and convexity the uniform q is best in the mean over all neurons.
    """
    sizes = np.concatenate(
        [
            np.linalg.norm(
                np.mean(parity_gradients(features, draws // 8, seed), axis=0), axis=1
            )
            for seed in range(8)
        ]
    )
    error = np.std(sizes) / math.sqrt(len(sizes))
    assert abs(np.mean(sizes) - margin) < digit / 2 + 3 * error
    # Few neurons: the best q is not uniform, and its margin smaller.
    gradients = parity_gradients(features, 300, 0)
    found = neuron_kernel_margin(gradients, tolerance=1e-7)
    uniform = np.mean(np.linalg.norm(np.mean(gradients, axis=0), axis=1))
    assert found.bound <= uniform
    assert abs(found.margin / margin - 1) < 0.25


def test_the_tangent_margin_of_two_features_is_a_double_integral():
    r"""Of four points two see a neuron: with m the smaller of |v_1|, |v_2|

    the pull is sqrt(2)/4 sqrt(a^2 + m^2), whose mean is 0.3587738.
    """
    mean, _ = dblquad(
        lambda a, m: np.hypot(a, m) * 16 * norm.pdf(a) * norm.pdf(m) * norm.sf(m),
        *(0, 9, 0, 9),
        epsabs=1e-8,
    )
    exact = math.sqrt(2) / 4 * mean
    assert math.floor(1000 * exact) == 358
    gradients = parity_gradients(2, 200_000, 0)
    sizes = np.linalg.norm(np.mean(gradients, axis=0), axis=1)
    assert abs(np.mean(sizes) - exact) < 3 * np.std(sizes) / math.sqrt(len(sizes))
    found = neuron_kernel_margin(parity_gradients(2, 5000, 1))
    assert abs(found.margin / exact - 1) < 0.03


@pytest.mark.parametrize("features", [2, 3, 4])
def test_the_global_margin_of_parity(features):
    x, y = data.parity(features)
    found = global_margin(x, y)
    exact = 1 / math.sqrt(8 * features)
    assert math.isclose(found.margin, exact, rel_tol=1e-14)
    assert math.isclose(found.bound, exact, rel_tol=1e-12)
    outputs = y * (np.maximum(x @ found.directions.T, 0) @ found.shares)
    assert math.isclose(np.min(outputs), exact, rel_tol=1e-14)
    assert math.isclose(np.sum(np.abs(found.shares)), 1.0, rel_tol=1e-14)


def test_the_global_margin_lies_between_its_dictionary_and_its_bound():
    """A fine grid of the circle bounds the margin in two dimensions, both ways."""
    random = np.random.default_rng(0)
    x = random.normal(size=(8, 2))
    y = np.sign(x[:, 0] * x[:, 1])
    found = global_margin(x, y, tolerance=1e-10)
    angle = np.linspace(0, 2 * np.pi, 20_001)
    grid = np.column_stack([np.cos(angle), np.sin(angle)])
    priced = np.abs((y * found.weights) @ np.maximum(x @ grid.T, 0))
    assert np.max(priced) <= found.bound * (1 + 1e-12)
    assert found.margin <= found.bound <= found.margin * (1 + 1e-9)
    outputs = y * (np.maximum(x @ found.directions.T, 0) @ found.shares)
    assert math.isclose(np.min(outputs), found.margin, rel_tol=1e-12)


def test_a_dictionary_that_cannot_fit_is_refused():
    with pytest.raises(ValueError, match="`directions` must have shape"):
        global_margin(*data.parity(2), directions=np.ones((3, 5)))
    for again in ([1.0, 2.0], [3.0, 6.0]):  # on one ray
        with pytest.raises(ValueError, match="`y` must not give both labels"):
            global_margin([[1.0, 2.0], [0.5, 0.0], again], [1, 1, -1])
    with pytest.raises(ValueError, match="no point at the origin"):
        global_margin([[1.0, 2.0], [0.0, 0.0]], [1, -1])
