"""Largest margins of points on a grid: vertices where more meet than need to."""

import gflow
import numpy as np
import pytest
import scipy.optimize


def by_program(rows, norm):
    """The largest margin in a norm as a linear program of another form."""
    samples, features = rows.shape
    # Maximize m with A w >= m; w = p - n, of norm at most one.
    cost = np.append(np.zeros(2 * features), -1.0)
    above = np.hstack([-rows, rows, np.ones((samples, 1))])
    if norm == "l1":
        size = np.append(np.ones(2 * features), 0.0)[None]
    else:
        size = np.hstack([np.eye(features), np.eye(features), np.zeros((features, 1))])
    least = np.append(np.zeros(samples), np.ones(len(size)))
    found = scipy.optimize.linprog(
        cost, np.vstack([above, size]), least,
        bounds=[(0, None)] * 2 * features + [(None, None)], method="highs-ipm",
    )  # fmt: skip
    return -found.fun


@pytest.mark.parametrize("norm", ["l1", "linf"])
@pytest.mark.parametrize(
    ("features", "samples", "most"), [(2, 6, 2), (4, 7, 2), (5, 9, 1)]
)
def test_margins_of_small_integers_are_found(norm, features, samples, most):
    rng = np.random.default_rng(features)
    for _ in range(60):
        x = rng.integers(-most, most + 1, size=(samples, features)).astype(float)
        y = np.where(x @ rng.uniform(0.2, 1, features) > 0, 1.0, -1.0)
        x = x + (np.all(x == 0, axis=1) * 1.0)[:, None] * y[:, None]
        found = gflow.reference.hard_margin(x, y, norm)
        expected = by_program(y[:, None] * x, norm)
        assert abs(found.margin / expected - 1) < 1e-7


@pytest.mark.parametrize("unit", [1e-200, 1e-165, 1.0, 1e160])
def test_units_of_vectors_are_of_no_matter(unit):
    points = np.array([[2.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
    found = gflow.reference.min_norm_point(points * unit)
    np.testing.assert_allclose(found.point / unit, [1, 1], rtol=1e-12)
    assert abs(found.norm / unit / np.sqrt(2) - 1) < 1e-12
    blocks = np.abs(np.random.default_rng(0).normal(size=(3, 2, 2)))
    one = gflow.reference.neuron_kernel_margin(blocks).margin
    other = gflow.reference.neuron_kernel_margin(blocks * unit).margin
    assert abs(other / unit / one - 1) < 1e-6
