"""Systems of a stage by factors, where their condition is beyond all digits."""

import jax.numpy as jnp
import numpy as np
import pytest
from gflow._solvers import _positive
from gflow._solvers._newton import _Root
from gflow._solvers._positive import FactoredPositive


def system(seed, log_rate, sizes=(1.0, 1e-6, 1e-11), many=40):
    """Factors $V = Q \\mathrm{diag}(s) R^T$, a rate, and the solution for a vector."""
    random = np.random.default_rng(seed)
    rank, sizes = len(sizes), np.asarray(sizes)
    left = np.linalg.qr(random.normal(size=(many, rank)))[0]
    right = np.linalg.qr(random.normal(size=(rank, rank)))[0]
    vector = left @ random.normal(size=rank) + random.normal(size=many)
    rate = 10.0**log_rate
    parts = left.T @ vector
    gone = left @ (rate * sizes**2 / (1 + rate * sizes**2) * parts)
    gram = FactoredPositive(jnp.asarray(left * sizes @ right.T), jnp.ones(rank))
    return gram, rate, vector, vector - gone


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("log_rate", [3.0, 14.0, 18.0, 21.0, 23.0])
@pytest.mark.parametrize("least", [_positive.LEAST_PIVOT, 1e-5])
def test_the_solution_is_that_of_the_singular_values(
    seed, log_rate, least, monkeypatch
):
    monkeypatch.setattr(_positive, "LEAST_PIVOT", least)
    gram, rate, vector, expected = system(seed, log_rate)
    root = _Root(jnp.ones(vector.size), None, None)
    none = jnp.zeros((3, 1))
    found, motion = gram.solve(rate, 0.0, root, jnp.asarray(vector)[:, None], none)
    assert np.allclose(found[:, 0], expected, atol=1e-3 * np.max(np.abs(vector)))
    assert np.all(np.isfinite(motion))
