"""Shortest mixtures and nearest points of cones, against brute force."""

import itertools

import gflow
import numpy as np
import pytest
import scipy.optimize
from gflow.kkt._hulls import Hull
from gflow.kkt._nearest import nearest_in_cone, shortest_mixture
from hypothesis import given, settings, strategies as st


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=100)
@given(seeds, st.integers(1, 12), st.integers(1, 12))
def test_the_shortest_mixture_solves_least_squares_in_a_box(seed, count, size):
    random = np.random.default_rng(seed)
    base, rows = random.normal(size=size), random.normal(size=(count, size))
    rows *= 10.0 ** random.uniform(-3, 1, (count, 1))
    parts = [np.stack([0 * row, row]) for row in rows]
    point, shares = shortest_mixture(base, parts)
    box = scipy.optimize.lsq_linear(
        rows.T, -base, (0, 1), method="bvls", tol=1e-15, max_iter=1000
    )
    scale = np.linalg.norm(base) + np.sum(np.linalg.norm(rows, axis=1))
    reached = np.linalg.norm(rows.T @ box.x + base)
    assert np.linalg.norm(point) <= reached + 1e-14 * scale
    pulls = rows @ point
    gate = np.array([share[1] for share in shares])
    assert np.all((gate >= 0) & (gate <= 1))
    small = 1e-13 * scale * np.linalg.norm(rows, axis=1)
    assert np.all((gate == 0) | (pulls <= small))
    assert np.all((gate == 1) | (pulls >= -small))


@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 6))
def test_the_shortest_mixture_is_that_of_all_sums_of_corners(seed, counts, size):
    random = np.random.default_rng(seed)
    base = random.normal(size=size)
    parts = [random.normal(size=(count, size)) for count in counts]
    point, shares = shortest_mixture(base, parts)
    sums = [base + sum(choice) for choice in itertools.product(*parts)]
    brute = gflow.reference.min_norm_point(np.array(sums))
    scale = 1 + sum(np.abs(part).max() for part in parts)
    assert np.linalg.norm(point) <= brute.norm + 1e-13 * scale
    assert np.min(np.array(sums) @ point) >= point @ point - 1e-13 * scale**2
    mixed = base + sum(s @ part for s, part in zip(shares, parts, strict=True))
    np.testing.assert_allclose(point, mixed, rtol=0, atol=1e-13 * scale)
    for share in shares:
        assert np.all(share >= 0)
        assert np.sum(share) == pytest.approx(1, abs=1e-13)


@given(seeds, st.integers(1, 4), st.integers(0, 3), st.integers(2, 6))
def test_the_cone_is_that_of_all_corners(seed, count, kinks, size):
    random = np.random.default_rng(seed)
    target = random.normal(size=size)
    bases = target + random.normal(size=(count, size))
    changes = random.normal(size=(count, kinks, size))
    hulls = [
        Hull(0, base, [np.stack([0 * row, row]) for row in rows], [])
        for base, rows in zip(bases, changes, strict=True)
    ]
    multipliers, rest = nearest_in_cone(target, hulls)
    flips = np.array(list(itertools.product((0, 1), repeat=kinks)), dtype=float)
    rows = np.concatenate(
        [base + flips @ own for base, own in zip(bases, changes, strict=True)]
    )
    brute = gflow.reference.nonnegative_multipliers(target, rows)
    expected = np.linalg.norm(target - brute @ rows)
    assert np.linalg.norm(rest) == pytest.approx(expected, abs=1e-12)
    assert multipliers.shape == (count,)
    assert np.all(multipliers >= 0)
