r"""Eigenvalues and eigenvectors of the motion near a point: all, or the greatest.

Units of like size are decomposed together: small units do not move large ones, to first
order, so that the matrix is block triangular, and in one decomposition the rounding of
a large block would drown a small one.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Complex, Float
from scipy.sparse.linalg import (
    ArpackError,
    ArpackNoConvergence,
    LinearOperator,
    eigs,
    lsmr,
)


GAP = 100.0
"""Units whose sizes differ by this factor are decomposed apart."""

FEW = 300
"""Blocks of fewer weights are decomposed as a whole."""

CLOSE = 1e-7, 1e-11
"""To how much of the largest eigenvalue the greatest is found, and then if it can be:
some may be alike but for less."""

ASIDE = 1e-6
"""What the search for it adds to the motion, against it: it must find modes that the
motion has no part in, and of modes alike the one that the motion is in."""

KRYLOV = 40
"""How many products with the motion tell how far it goes; only whether that is far."""

PROJECTED = 1e-9
"""To how much of a vector its part outside of a range is found."""

RESTARTS = 60
"""How often ARPACK may start anew."""

SAME = {"rng": 0} if "rng" in inspect.signature(eigs).parameters else {}
"""So that it does the same each time: from SciPy 1.17 on it draws numbers."""


class Spectrum(NamedTuple):
    """Eigenvalues, and what belongs to them.

    Attributes:
        values: The eigenvalues.
        right: Eigenvectors, one a column.
        dual: Rows that give the amplitude of each of them.
        doubt: How far each eigenvalue may be from one of the matrix.
    """

    values: Complex[np.ndarray, " modes"]
    right: Complex[np.ndarray, "weights modes"]
    dual: Complex[np.ndarray, "modes weights"]
    doubt: Float[np.ndarray, " modes"]


class Products(NamedTuple):
    """A matrix by its products, and those of its transpose, with vectors."""

    forward: Callable[[np.ndarray], Array]
    backward: Callable[[np.ndarray], Array]


def blocks(size: Float[np.ndarray, " weights"]) -> list[np.ndarray]:
    """The weights in units of like size, from the largest on."""
    order = np.argsort(-size, kind="stable")
    gaps = np.flatnonzero(size[order][1:] * GAP < size[order][:-1]) + 1
    return np.split(order, gaps)


def all_modes(matrix: np.ndarray, size: np.ndarray) -> Spectrum:
    """Every mode of a matrix."""
    parts = blocks(size)
    return _joined(parts, [_dense(matrix[np.ix_(part, part)]) for part in parts])


def greatest_modes(
    products: Products,
    size: Float[np.ndarray, " weights"],
    force: Float[np.ndarray, " weights"],
    least: float,
) -> Spectrum:
    """Of each large block the mode whose eigenvalue has the greatest real part.

    Args:
        products: Those of the motion.
        size: The size of the unit of each weight.
        force: The motion itself: of modes alike the one that it is in is found.
        least: How far an eigenvalue may be from what it seems.

    Raises:
        numpy.linalg.LinAlgError: It was not found.
    """

    def found(part):
        block = _Block(products, part, len(size))
        if len(part) < FEW:
            return _dense(block.shifted(0.0) @ np.eye(len(part)))
        return _greatest(block, size[part], force[part], least)

    parts = blocks(size)
    return _joined(parts, [found(part) for part in parts])


def way_to_rest(
    products: Products, force: Float[np.ndarray, " weights"], noise: float
) -> float:
    """About how far modes go that decay faster than `noise`, by Arnoldi's method."""
    length = np.linalg.norm(force)
    basis, matrix = np.zeros((KRYLOV + 1, len(force))), np.zeros((KRYLOV + 1, KRYLOV))
    basis[0] = force / (length or 1.0)
    for k in range(KRYLOV):
        new = np.asarray(products.forward(basis[k]))
        size = np.linalg.norm(new)
        for _ in range(2):  # once more for what rounding leaves
            along = basis[: k + 1] @ new
            new, matrix[: k + 1, k] = (
                new - along @ basis[: k + 1],
                matrix[: k + 1, k] + along,
            )
        matrix[k + 1, k] = np.linalg.norm(new)
        if matrix[k + 1, k] <= 1e-14 * size:
            break
        basis[k + 1] = new / matrix[k + 1, k]
    values, vectors = np.linalg.eig(matrix[: k + 1, : k + 1])
    decays = values.real < -noise
    shares = length * np.linalg.pinv(vectors)[:, 0]
    return float(np.linalg.norm(vectors[:, decays] @ (shares[decays] / values[decays])))


def outside_of_range(
    products: Products, vector: Float[np.ndarray, " weights"]
) -> Float[np.ndarray, " weights"]:
    """What of a vector the matrix gives for none, by LSMR.

    Raises:
        numpy.linalg.LinAlgError: It was not found.
    """
    matrix = _Block(products, np.arange(len(vector)), len(vector)).shifted(0.0)
    found, how, *_ = lsmr(
        matrix, vector, atol=PROJECTED, btol=PROJECTED, maxiter=KRYLOV * RESTARTS
    )
    if how == 7:
        raise np.linalg.LinAlgError("What is outside of the range was not found.")
    return vector - matrix @ found


def _joined(parts: list[np.ndarray], spectra: list[Spectrum]) -> Spectrum:
    """That of the whole, from those of its blocks."""
    weights, modes = (sum(map(len, every)) for every in (parts, next(zip(*spectra))))
    right, dual = (
        np.zeros((weights, modes), complex),
        np.zeros((modes, weights), complex),
    )
    first = 0
    for part, each in zip(parts, spectra):
        here = np.arange(first, first + len(each.values))
        right[np.ix_(part, here)] = each.right
        dual[np.ix_(here, part)] = each.dual
        first += len(here)
    values, doubt = (np.concatenate([s[k] for s in spectra]) for k in (0, 3))
    return Spectrum(values, right, dual, doubt)


def _dense(matrix: np.ndarray) -> Spectrum:
    """All modes of one block."""
    values, right = np.linalg.eig(matrix)
    dual = np.linalg.pinv(right)
    return Spectrum(values, right, dual, np.zeros(len(values)))


def _greatest(
    block: "_Block", size: np.ndarray, force: np.ndarray, least: float
) -> Spectrum:
    """The mode of greatest real part, by ARPACK."""
    start = np.random.default_rng(0).normal(size=len(size))
    start /= np.linalg.norm(start)
    pushed = np.linalg.norm(force)
    if pushed > 0:
        start = force / pushed + ASIDE * start
    try:
        (largest,), _ = eigs(
            block.shifted(0.0), 1, which="LM", tol=0.1, v0=start, **SAME
        )
        # It is found to so much of itself, and it may be zero.
        shift = 2 * abs(largest)
        shifted = block.shifted(shift)
        (value,), right = _top(shifted, start, least / shift)
        # Those of a symmetric matrix in units of these sizes are so much apart.
        (same,), left = _top(shifted.T, size**2 * right[:, 0].real, least / shift)
    except ArpackError as error:
        raise np.linalg.LinAlgError(str(error)) from error
    dual = left.T / (left[:, 0] @ right[:, 0])
    off = shifted @ right[:, 0] - value * right[:, 0]
    doubt = np.linalg.norm(dual) * np.linalg.norm(off) + abs(value - same)
    return Spectrum(np.array([value - shift]), right, dual, np.array([doubt]))


def _top(
    matrix: LinearOperator, start: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """The greatest eigenvalue and its vector, at least so close to one."""
    find = partial(
        eigs, matrix, 1, which="LR", ncv=min(KRYLOV, len(start) - 1),
        maxiter=RESTARTS, **SAME,
    )  # fmt: skip
    found = find(v0=start, tol=max(CLOSE[0], least))
    try:
        return find(v0=found[1][:, 0].real, tol=max(CLOSE[1], least))
    except ArpackNoConvergence:
        return found


class _Block(NamedTuple):
    """The matrix among some of the weights."""

    products: Products
    part: np.ndarray
    weights: int

    def shifted(self, shift: float) -> LinearOperator:
        """With this much added to its diagonal."""

        def among(product):
            def of(vector):
                if np.iscomplexobj(vector):
                    return of(vector.real) + 1j * of(vector.imag)
                whole = np.zeros(self.weights)
                whole[self.part] = np.ravel(vector)
                return np.asarray(product(whole))[self.part] + shift * np.ravel(vector)

            return of

        forward, backward = map(among, self.products)
        shape, dtype = (len(self.part),) * 2, np.dtype(float)
        return LinearOperator(shape, matvec=forward, rmatvec=backward, dtype=dtype)
