import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from gflow import data
from gflow.reference import hard_margin
from hypothesis import given, settings, strategies as st
from scipy.optimize import nnls


EPS = float(np.finfo(float).eps)


def solve_exactly(matrix):
    """The solution of matrix @ z = 1 in rational numbers; None if singular."""
    size = len(matrix)
    rows = [[*row, Fraction(1)] for row in matrix]
    for i in range(size):
        pivot = next((k for k in range(i, size) if rows[k][i] != 0), None)
        if pivot is None:
            return None
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for k in set(range(size)) - {i}:
            factor = rows[k][i] / rows[i][i]
            rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i], strict=True)]
    return [rows[i][size] / rows[i][i] for i in range(size)]


def exact_weights(x, y):
    """The answer in rational numbers, by trial of every set of support points."""
    rows = [[Fraction(float(v)) for v in row] for row in y[:, None] * x]
    gram = [[sum(map(Fraction.__mul__, a, b)) for b in rows] for a in rows]
    samples, features = np.shape(x)
    for size in range(1, min(samples, features) + 1):
        for chosen in itertools.combinations(range(samples), size):
            found = solve_exactly([[gram[i][j] for j in chosen] for i in chosen])
            if found is None or min(found) < 0:
                continue
            pull = dict(zip(chosen, found, strict=True))
            if all(sum(row[j] * pull[j] for j in chosen) >= 1 for row in gram):
                w = [sum(rows[j][c] * pull[j] for j in chosen) for c in range(features)]
                return np.array([float(v) for v in w])
    return None


def labeled(x, random):
    """The points and the labels of a random teacher."""
    return x, np.sign(x @ random.normal(size=x.shape[1]))


def thin(random, margin, samples=7, features=3):
    """Points whose margin is about the one given."""
    x, y = labeled(random.normal(size=(samples, features)), random)
    x[:, 0] = margin * y * random.uniform(1.0, 2.0, size=samples)
    return x, y


def lattice(random):
    x, y = labeled(random.integers(-2, 3, size=(9, 3)).astype(float), random)
    return x[y != 0], y[y != 0]


def repeated(random, distance):
    x = random.normal(size=(5, 3))
    near = x[:3] + distance * random.normal(size=(3, 3))
    return labeled(np.concatenate([x, near]), random)


def scaled(random, rows, columns):
    x = random.normal(size=(7, 3))
    x = x * 10.0 ** random.uniform(-rows, rows, size=(7, 1))
    return labeled(x * 10.0 ** random.uniform(-columns, columns, size=(1, 3)), random)


FAMILIES = {
    "random": lambda random: labeled(random.normal(size=(8, 3)), random),
    "more features than points": lambda random: labeled(
        random.normal(size=(3, 5)), random
    ),
    "lattice, degenerate supports": lattice,
    "repeated points": lambda random: repeated(random, 0.0),
    "points 1e-15 apart": lambda random: repeated(random, 1e-15),
    "points 1e-14 apart, repaired": lambda random: repeated(random, 1e-14),
    "points 1e-12 apart": lambda random: repeated(random, 1e-12),
    "points 1e-8 apart": lambda random: repeated(random, 1e-8),
    "margin 1e-5": lambda random: thin(random, 1e-5),
    "margin 1e-10": lambda random: thin(random, 1e-10),
    "rows of all lengths": lambda random: scaled(random, 4, 0),
    "columns of all lengths": lambda random: scaled(random, 0, 4),
}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_weights_are_those_of_rational_arithmetic(family):
    random = np.random.default_rng(0)
    for _ in range(5):
        x, y = family(random)
        exact = exact_weights(x, y)
        assert exact is not None
        found = hard_margin(x, y)
        error = np.linalg.norm(found.weights - exact) / np.linalg.norm(exact)
        assert error < 1e-13
        assert math.isclose(found.margin, 1 / np.linalg.norm(exact), rel_tol=1e-13)
        assert np.allclose(found.direction, exact * found.margin, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "points",
    [
        data.separable(20, 10, shift=0.2, seed=0),
        data.separable(200, 30, shift=0.01, seed=1),
        data.digits((3, 8), samples=100),
        data.digits((3, 8)),
    ],
    ids=["toy", "many supports", "100 digits", "357 digits"],
)
def test_weights_and_multipliers_are_those_of_fifty_digits(points):
    """The equations on the support in mpmath, and there every condition."""
    x, y = points
    found = hard_margin(x, y)
    chosen = np.flatnonzero(found.multipliers)
    rows = y[:, None] * x
    with mpmath.workdps(50):
        basis = mpmath.matrix(rows[chosen].tolist())
        exact = mpmath.lu_solve(basis * basis.T, mpmath.ones(len(chosen), 1))
        w = basis.T * exact
        assert min(exact) > 0
        assert min(mpmath.matrix(rows.tolist()) * w) > 1 - mpmath.mpf("1e-40")
        error = mpmath.norm(w - mpmath.matrix(found.weights.tolist()))
        assert error < 1e-14 * mpmath.norm(w)
        error = mpmath.norm(exact - mpmath.matrix(found.multipliers[chosen].tolist()))
        assert error < 1e-14 * mpmath.norm(exact)
    assert np.array_equal(found.support, chosen)


@settings(deadline=None, max_examples=40)
@given(
    samples=st.integers(1, 40),
    features=st.integers(1, 20),
    seed=st.integers(0, 10**6),
)
def test_the_conditions_of_karush_kuhn_and_tucker_hold(samples, features, seed):
    random = np.random.default_rng(seed)
    x, y = labeled(random.normal(size=(samples, features)), random)
    found = hard_margin(x, y)
    rows, w, pull = y[:, None] * x, found.weights, found.multipliers
    size = np.linalg.norm(w)
    rounding = 30 * EPS * np.max(np.linalg.norm(rows, axis=1)) * size
    assert np.all(pull >= 0)
    assert np.min(rows @ w) > 1 - rounding
    assert np.max(np.abs(pull * (rows @ w - 1))) <= rounding * np.max(pull)
    cancelled = np.linalg.norm(np.linalg.norm(rows, axis=1) * pull)
    assert np.linalg.norm(rows.T @ pull - w) < 30 * EPS * cancelled * features
    assert math.isclose(np.sum(pull), size**2, rel_tol=1e-13)
    assert set(np.flatnonzero(pull)) <= set(found.support)


@settings(deadline=None, max_examples=25)
@given(
    samples=st.integers(1, 30),
    features=st.integers(1, 15),
    seed=st.integers(0, 10**6),
)
def test_least_squares_with_signs_gives_the_same_weights(samples, features, seed):
    # Lawson and Hanson: the residual of min |E u - e|, u >= 0, holds w.
    random = np.random.default_rng(seed)
    x, y = labeled(random.normal(size=(samples, features)), random)
    found = hard_margin(x, y)
    # With the last row in units of the margin the two parts of E weigh the same.
    stacked = np.vstack([(y[:, None] * x).T, np.full(samples, found.margin)])
    target = np.append(np.zeros(features), found.margin)
    pull, _ = nnls(stacked, target)
    residual = target - stacked @ pull
    w = -residual[:-1] / residual[-1] / found.margin
    assert np.linalg.norm(w - found.weights) < 1e-10 * np.linalg.norm(found.weights)


@pytest.mark.parametrize("label", [-1, 1])
def test_one_point_is_its_own_support(label):
    point = np.array([3.0, -4.0])
    found = hard_margin(point[None], np.array([label]))
    assert np.allclose(found.weights, label * point / 25, rtol=1e-15)
    assert math.isclose(found.margin, 5.0, rel_tol=1e-15)
    assert np.allclose(found.multipliers, [1 / 25], rtol=1e-15)
    assert np.array_equal(found.support, [0])


def test_a_degenerate_support_is_found_whole():
    # Six points on a circle around w, four of them more than needed, and one beyond.
    angle = np.pi / 3 * np.arange(6)
    x = np.stack([np.cos(angle), np.sin(angle), np.full(6, 2.0)], axis=1)
    x = np.concatenate([x, [[0.3, 0.2, 3.0]]])
    found = hard_margin(x, np.ones(7))
    assert np.allclose(found.weights, [0.0, 0.0, 0.5], rtol=0, atol=1e-15)
    assert np.array_equal(found.support, np.arange(6))
    assert np.linalg.matrix_rank(x[found.multipliers > 0]) == np.sum(
        found.multipliers > 0
    )
    assert math.isclose(np.sum(found.multipliers), 0.25, rel_tol=1e-15)


def test_order_signs_and_powers_of_two_change_nothing():
    random = np.random.default_rng(3)
    x, y = labeled(random.normal(size=(30, 6)), random)
    found, order = hard_margin(x, y), random.permutation(30)
    moved = hard_margin(x[order], y[order])
    assert np.allclose(moved.weights, found.weights, rtol=1e-14, atol=1e-14)
    assert np.allclose(moved.multipliers, found.multipliers[order], atol=1e-14)
    mirrored = hard_margin(y[:, None] * x, np.ones(30))
    assert np.array_equal(mirrored.weights, found.weights)
    for exponent in (-400, 400):
        grown = hard_margin(np.ldexp(x, exponent), y)
        assert np.array_equal(grown.weights, np.ldexp(found.weights, -exponent))
        assert np.array_equal(grown.direction, found.direction)
        assert grown.margin == math.ldexp(found.margin, exponent)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([[1.0, 0.0], [2.0, 0.0]], [1, -1]),
        ([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]], [1, 1, 1]),
        data.parity(4),
        data.two_gaussians(60, 5, distance=0.5, seed=0),
        (data.digits((3, 8))[0], np.resize([1.0, -1.0], 357)),
        thin(np.random.default_rng(0), 1e-14),
    ],
    ids=["opposite", "triangle", "parity", "clouds", "shuffled digits", "thin"],
)
def test_inseparable_points_are_refused(x, y):
    with pytest.raises(ValueError, match="`x` and `y` must be separable by a plane"):
        hard_margin(x, y)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1.0, 2.0], [1, -1], r"`x` must have shape \(samples, features\).*\(2,\)"),
        (np.ones((0, 2)), [], r"`x` must have shape .* at least one .*\(0, 2\)"),
        ([[1.0], [2.0]], [[1], [1]], r"`y` must have shape \(2,\), .*\(2, 1\)"),
        ([[1.0], [2.0]], [1, 1, 1], r"`y` must have shape \(2,\), .*\(3,\)"),
        ([[1.0], [2.0]], [0, 1], r"`y` must hold -1 and \+1 only, but holds \[0\]"),
        ([[1.0], [np.nan]], [1, 1], "`x` must be finite, but 1 of its 2"),
        ([[1.0], [2.0]], [1, np.inf], "`y` must be finite, but 1 of its 2"),
        ([["a"], ["b"]], [1, 1], "`x` must hold real numbers, but has <U1"),
        ([[1j], [2j]], [1, 1], "`x` must hold real numbers, but has complex128"),
        ([[1.0], [0.0]], [1, 1], r"`x` must hold no zero point, but x\[1\] is zero"),
    ],
)
def test_bad_arguments_are_named(x, y, message):
    with pytest.raises(ValueError, match=message):
        hard_margin(x, y)
