"""Modes of many weights, against decompositions of the whole matrix."""

import numpy as np
import pytest
from gflow._integrate import _spectrum
from gflow._integrate._spectrum import Products


NUMBERS = {
    "FEW": 1000, "GAP": 1e4, "ASIDE": 1e-3, "KRYLOV": 60, "RESTARTS": 200,
    "CLOSE": (1e-5, 1e-10),
}  # fmt: skip
"""Others than those of the module."""


def symmetric(values, seed):
    """A symmetric matrix of these eigenvalues."""
    random = np.random.default_rng(seed)
    basis = np.linalg.qr(random.normal(size=(len(values), len(values))))[0]
    return basis * values @ basis.T


def products(matrix):
    return Products(lambda v: matrix @ v, lambda v: matrix.T @ v)


def values_of(kind, random, size=130):
    stable = -np.geomspace(0.02, 50.0, size - 5)
    if kind == "grows":
        return np.append(stable, [0.7, 0.3, 0.0, 0.0, 0.0])
    if kind == "alike":
        return np.append(stable, 0.7 + 1e-9 * random.normal(size=5))
    return np.append(stable, np.zeros(5))


@pytest.mark.parametrize("number", [None, *NUMBERS])
@pytest.mark.parametrize("kind", ["grows", "alike", "rests"])
@pytest.mark.parametrize("seed", [0, 1])
def test_greatest_modes_are_those_of_the_whole_matrix(kind, seed, number, monkeypatch):
    """In units of three sizes, two of them alike: small ones do not move large ones."""
    monkeypatch.setattr(_spectrum, "FEW", 0)
    if number is not None:
        monkeypatch.setattr(_spectrum, number, NUMBERS[number])
    random = np.random.default_rng(seed)
    values = values_of(kind, random)
    size = np.repeat([1.0, 0.2, 1e-7], [100, 30, 40])
    order = random.permutation(len(size))
    large, small = symmetric(values, seed), symmetric(-np.geomspace(1.0, 9.0, 40), seed)
    across = size[:130]
    matrix = np.zeros((170, 170))
    matrix[:130, :130] = across[:, None] * large / across
    matrix[130:, 130:], matrix[130:, :130] = small, random.normal(size=(40, 130))
    matrix[:130, 130:] = 1e-14 * random.normal(size=(130, 40))
    matrix, size = matrix[np.ix_(order, order)], size[order]
    force = random.normal(size=170)
    found = _spectrum.greatest_modes(products(matrix), size, force, 1e-13)
    best = int(np.argmax(found.values.real))
    assert abs(found.values[best] - np.max(values)) < 1e-8 + found.doubt[best]
    right, dual = found.right[:, best], found.dual[best]
    assert abs(dual @ right - 1) < 1e-8
    kept = size > 1e-3  # as the rest does in its block
    rest = (matrix @ right - found.values[best] * right)[kept]
    assert np.linalg.norm(rest) < 1e-6 * np.linalg.norm(right)
    if kind == "grows":  # the amplitude of the one mode is that in all modes
        every, vectors = np.linalg.eig(matrix[np.ix_(kept, kept)])
        whole = np.linalg.inv(vectors)[np.argmax(every.real)]
        first = (dual @ force) * right[kept]
        second = (whole @ force[kept]) * vectors[:, np.argmax(every.real)]
        assert np.allclose(first, second, atol=1e-6 * np.linalg.norm(second))
    again = _spectrum.greatest_modes(products(matrix), size, force, 1e-13)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_way_to_rest_is_that_of_the_modes_that_decay(seed):
    random = np.random.default_rng(seed)
    values = np.append(-np.geomspace(0.05, 40.0, 150), [0.3, 0.2, 0.0, 0.0])
    matrix = symmetric(values, seed)
    basis = np.linalg.eigh(matrix)[1]
    # Modes of small rates have gone, or the motion would be of them alone.
    shares = random.normal(size=len(values)) * np.abs(np.sort(values))
    force = basis @ shares
    decays = np.sort(values) < -1e-9
    exact = np.linalg.norm(shares[decays] / np.sort(values)[decays])
    found = _spectrum.way_to_rest(products(matrix), force, 1e-9)
    assert 0.5 * exact < found < 2 * exact
    assert _spectrum.way_to_rest(products(matrix), 0 * force, 1e-9) == 0


def test_what_is_outside_of_the_range_is_found_or_refused():
    random = np.random.default_rng(3)
    values = np.append(-np.geomspace(0.3, 40.0, 80), np.zeros(20))
    matrix = symmetric(values, 4)
    basis = np.linalg.eigh(matrix)[1][:, -20:]
    vector = random.normal(size=100)
    found = _spectrum.outside_of_range(products(matrix), vector)
    assert np.allclose(found, basis @ (basis.T @ vector), atol=1e-6)
    hard = symmetric(-np.geomspace(1e-9, 1.0, 2000), 5)
    with pytest.raises(np.linalg.LinAlgError, match="was not found"):
        _spectrum.outside_of_range(products(hard), random.normal(size=2000))
