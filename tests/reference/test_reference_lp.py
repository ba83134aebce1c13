"""Largest linear margins in the 1- and the maximum norm."""

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from gflow import data
from gflow.reference import hard_margin
from scipy.optimize import linprog
from test_hard_margin import solve_exactly


DUAL = {"l1": np.inf, "linf": 1}
ORDER = {"l1": 1, "linf": np.inf}
each_norm = pytest.mark.parametrize("norm", ["l1", "linf"])


def labeled(random, samples, features):
    x = random.normal(size=(samples, features))
    return x, np.sign(x @ random.normal(size=features))


def exact_size(rows, norm):
    """The least norm in rational numbers, over all vertices of the feasible set.

    min |w| s.t. A w >= 1 in variables (w, bounds): each vertex of the l_inf problem in
    (w, s), and of the l_1 problem in each orthant, solves as many tight constraints.
    """
    rows = [[Fraction(float(v)) for v in row] for row in rows]
    features = len(rows[0])
    best = None
    unit = [[Fraction(int(i == j)) for j in range(features)] for i in range(features)]
    if norm == "l1":
        # The unknowns are w; a vertex has entries zero and rows tight.
        pools = [(row, Fraction(1)) for row in rows] + [(e, Fraction(0)) for e in unit]
        size = features
    else:
        pools = [([*row, Fraction(0)], Fraction(1)) for row in rows]
        pools += [([*e, -Fraction(1)], Fraction(0)) for e in unit]
        pools += [([*(-v for v in e), -Fraction(1)], Fraction(0)) for e in unit]
        size = features + 1
    for chosen in itertools.combinations(pools, size):
        w = solve_any([list(row) for row, _ in chosen], [value for _, value in chosen])
        if w is None:
            continue
        w = w[:features]
        if all(sum(a * b for a, b in zip(row, w, strict=True)) >= 1 for row in rows):
            sizes = [abs(v) for v in w]
            value = sum(sizes) if norm == "l1" else max(sizes)
            best = value if best is None else min(best, value)
    return best


def solve_any(matrix, target):
    """matrix @ z = target, through the solver for a right-hand side of ones."""
    size = len(matrix)
    # With one more unknown fixed to 1: [M, -t; 0, 1] (z, 1) = (0, 1); shift to ones.
    grown = [[*(row), 1 - value] for row, value in zip(matrix, target, strict=True)]
    grown.append([Fraction(0)] * size + [Fraction(1)])
    found = solve_exactly(grown)
    return None if found is None else found[:size]


@each_norm
@pytest.mark.parametrize("seed", range(6))
def test_margins_are_those_of_rational_arithmetic(norm, seed):
    x, y = labeled(np.random.default_rng(seed), 6, 3)
    exact = exact_size(y[:, None] * x, norm)
    assert exact is not None
    found = hard_margin(x, y, norm)
    assert math.isclose(found.margin, float(1 / exact), rel_tol=1e-14)


@each_norm
@pytest.mark.parametrize(
    "points",
    [
        data.separable(20, 10, shift=0.2, seed=0),
        data.separable(200, 30, shift=0.01, seed=1),
        data.digits((3, 8), samples=100),
        data.digits((3, 8)),
    ],
    ids=["toy", "many points", "100 digits", "357 digits"],
)
def test_weak_duality_proves_the_margin_in_fifty_digits(norm, points):
    """A feasible w from above and feasible multipliers from below, both exact."""
    x, y = points
    found, rows = hard_margin(x, y, norm), y[:, None] * x
    with mpmath.workdps(50):
        exact = mpmath.matrix(rows.tolist())
        w = mpmath.matrix(found.weights.tolist())
        w = w / min(exact * w)
        sizes = [abs(v) for v in w]
        above = sum(sizes) if norm == "l1" else max(sizes)
        pull = mpmath.matrix(found.multipliers.tolist())
        assert min(pull) >= 0
        sizes = [abs(v) for v in exact.T * pull]
        dual = max(sizes) if norm == "l1" else sum(sizes)
        below = sum(pull) / dual
        assert below <= above * (1 + mpmath.mpf("1e-40"))
        assert above / below - 1 < 1e-13
        assert abs(found.margin * above - 1) < 1e-13


@each_norm
@pytest.mark.parametrize("seed", range(10))
def test_the_conditions_of_optimality_hold(norm, seed):
    random = np.random.default_rng(seed)
    x, y = labeled(random, int(random.integers(1, 40)), int(random.integers(1, 15)))
    found, rows = hard_margin(x, y, norm), y[:, None] * x
    size = np.linalg.norm(found.weights, ORDER[norm])
    pull = rows.T @ found.multipliers
    # Multipliers are those of half the squared norm, whose dual is the same.
    assert math.isclose(np.linalg.norm(pull, DUAL[norm]), size, rel_tol=1e-12)
    assert math.isclose(np.sum(found.multipliers), size**2, rel_tol=1e-12)
    assert np.min(rows @ found.weights) > 1 - 1e-12
    slack = rows @ found.weights - 1
    assert np.max(np.abs(found.multipliers * slack)) < 1e-12 * size**2
    assert set(np.flatnonzero(found.multipliers)) <= set(found.support)
    assert math.isclose(found.margin * size, 1.0, rel_tol=1e-14)


@each_norm
def test_interior_points_find_the_same_margin(norm):
    x, y = labeled(np.random.default_rng(3), 60, 8)
    rows = y[:, None] * x
    one, eye = np.ones((8, 1)), np.eye(8)
    zero = np.zeros((60, 8))
    if norm == "l1":  # bounds of each entry
        cost = np.append(np.zeros(8), np.ones(8))
        matrix = np.block([[-rows, zero], [eye, -eye], [-eye, -eye]])
    else:
        cost = np.append(np.zeros(8), 1.0)
        matrix = np.block([[-rows, zero[:, :1]], [eye, -one], [-eye, -one]])
    target = np.append(-np.ones(60), np.zeros(16))
    other = linprog(cost, matrix, target, bounds=(None, None), method="highs-ipm")
    assert math.isclose(hard_margin(x, y, norm).margin, 1 / other.fun, rel_tol=1e-8)


@each_norm
def test_a_degenerate_lattice_is_solved(norm):
    points = np.array(list(itertools.product([-1.0, 0.0, 1.0], repeat=3)))
    y = np.sign(points @ [1.0, 2.0, 4.0])
    points, y = points[y != 0], y[y != 0]
    found = hard_margin(points, y, norm)
    # w2 > w1 + w0 and so on: (1, 2, 4) is the least in either norm.
    assert np.allclose(found.weights, [1.0, 2.0, 4.0], rtol=0, atol=1e-14)


def test_each_norm_has_the_largest_margin_in_itself():
    x, y = labeled(np.random.default_rng(0), 10, 6)
    orders = {"l2": 2, **ORDER}
    best = {norm: hard_margin(x, y, norm) for norm in orders}
    for norm, order in orders.items():
        margins = {
            other: np.min(y * (x @ found.weights))
            / np.linalg.norm(found.weights, order)
            for other, found in best.items()
        }
        assert max(margins, key=lambda other: margins[other]) == norm


def test_another_norm_is_refused():
    with pytest.raises(ValueError, match=r"`norm` must be one of .* but is 'l3'"):
        hard_margin([[1.0], [-1.0]], [1, -1], norm="l3")  # pyright: ignore[reportArgumentType]


@each_norm
def test_inseparable_points_are_refused(norm):
    with pytest.raises(ValueError, match="`x` and `y` must be separable by a plane"):
        hard_margin(*data.parity(4), norm=norm)
