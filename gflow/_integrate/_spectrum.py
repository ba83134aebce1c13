r"""Eigenvalues and eigenvectors of the motion near a point: all, or the greatest.

Units of like size are decomposed together: small units do not move large ones, to first
order, so that the matrix is block triangular, and in one decomposition the rounding of
a large block would drown a small one.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Array, Complex, Float, Inexact
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

AGAIN: dict[str, Any] = (
    {"rng": 0} if "rng" in inspect.signature(eigs).parameters else {}
)
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
    """A real matrix by its products, and those of its transpose, with vectors."""

    forward: Callable[[np.ndarray], Array | np.ndarray]
    backward: Callable[[np.ndarray], Array | np.ndarray]


def all_modes(matrix: np.ndarray, size: Float[np.ndarray, " weights"]) -> Spectrum:
    """Every mode of a matrix."""
    parts = _blocks(size)
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
        if len(part) < FEW:
            block = _Block(products, part, len(size), 0.0)
            return _dense(np.asarray(block @ np.eye(len(part))))
        return _greatest(products, part, size, force[part], least)

    parts = _blocks(size)
    return _joined(parts, [found(part) for part in parts])


def way_to_rest(
    products: Products, force: Float[np.ndarray, " weights"], noise: float
) -> float:
    """About how far modes go that decay faster than `noise`, by Arnoldi's method."""
    length, count = np.linalg.norm(force), min(KRYLOV, len(force))
    basis, matrix = np.zeros((count + 1, len(force))), np.zeros((count + 1, count))
    basis[0] = force / (length or 1.0)
    size = 0
    while size < count:
        new = np.asarray(products.forward(basis[size]))
        smallest = 1e-14 * np.linalg.norm(new)
        for _ in range(2):  # once more for what rounding leaves
            along = basis[: size + 1] @ new
            new = new - along @ basis[: size + 1]
            matrix[: size + 1, size] += along
        rest = np.linalg.norm(new)
        size += 1
        if rest <= smallest:
            break
        matrix[size, size - 1], basis[size] = rest, new / rest
    values, vectors = np.linalg.eig(matrix[:size, :size])
    decays = np.real(values) < -noise
    shares = length * np.linalg.pinv(vectors)[:, 0]
    return float(np.linalg.norm(vectors[:, decays] @ (shares[decays] / values[decays])))


def outside_of_range(
    products: Products, vector: Float[np.ndarray, " weights"]
) -> Float[np.ndarray, " weights"]:
    """What of a vector the matrix gives for none, by LSMR.

    Raises:
        numpy.linalg.LinAlgError: It was not found.
    """
    matrix = _Block(products, np.arange(len(vector)), len(vector), 0.0)
    most = KRYLOV * RESTARTS
    found, how, *_ = lsmr(matrix, vector, atol=PROJECTED, btol=PROJECTED, maxiter=most)
    if how == 7:
        raise np.linalg.LinAlgError("What is outside of the range was not found.")
    return vector - matrix @ found


def _blocks(size: Float[np.ndarray, " weights"]) -> list[np.ndarray]:
    """The weights in units of like size, from the largest on."""
    order = np.argsort(-size, kind="stable")
    gaps = np.flatnonzero(size[order][1:] * GAP < size[order][:-1]) + 1
    return np.split(order, gaps)


def _joined(parts: list[np.ndarray], spectra: list[Spectrum]) -> Spectrum:
    """That of the whole, from those of its blocks."""
    values, doubt = (np.concatenate([each[k] for each in spectra]) for k in (0, 3))
    right = np.zeros((sum(map(len, parts)), len(values)), complex)
    dual, first = np.zeros(right.T.shape, complex), 0
    for part, each in zip(parts, spectra, strict=True):
        here = np.arange(first, first + len(each.values))
        right[np.ix_(part, here)] = each.right
        dual[np.ix_(here, part)] = each.dual
        first += len(here)
    return Spectrum(values, right, dual, doubt)


def _dense(matrix: np.ndarray) -> Spectrum:
    """All modes of one block."""
    values, right = np.linalg.eig(matrix)
    return Spectrum(values, right, np.linalg.pinv(right), np.zeros(len(values)))


def _greatest(
    products: Products,
    part: np.ndarray,
    size: Float[np.ndarray, " weights"],
    force: Float[np.ndarray, " part"],
    least: float,
) -> Spectrum:
    """The mode of one block whose eigenvalue has the greatest real part."""
    start = np.random.default_rng(0).normal(size=len(part))
    start /= np.linalg.norm(start)
    pushed = np.linalg.norm(force)
    if pushed > 0:
        start = force / pushed + ASIDE * start
    try:
        (largest,), _ = _eigs(_Block(products, part, len(size), 0.0), "LM", start, 0.1)
        # It is found to so much of itself, and it may be zero.
        shift = 2 * abs(largest) + 1e-300
        block = _Block(products, part, len(size), shift)
        value, right = _top(block, start, least / shift)
        # Those of a symmetric matrix in units of these sizes are so much apart.
        same, left = _top(block.T, size[part] ** 2 * np.real(right), least / shift)
    except ArpackError as error:
        raise np.linalg.LinAlgError(str(error)) from error
    dual, off = left / (left @ right), block @ right - value * right
    doubt = np.linalg.norm(dual) * np.linalg.norm(off) + abs(value - same)
    values = np.array([value - shift])
    return Spectrum(values, right[:, None], dual[None], np.array([doubt]))


def _top(
    matrix: LinearOperator, start: np.ndarray, least: float
) -> tuple[complex, np.ndarray]:
    """The greatest eigenvalue and its vector, at least so close to one."""
    values, vectors = _eigs(matrix, "LR", start, max(CLOSE[0], least))
    try:
        closer = np.real(vectors[:, 0]), max(CLOSE[1], least)
        values, vectors = _eigs(matrix, "LR", *closer)
    except ArpackNoConvergence:
        pass
    return values[0], vectors[:, 0]


def _eigs(
    matrix: LinearOperator, which: str, start: np.ndarray, close: float
) -> tuple[np.ndarray, np.ndarray]:
    """An eigenvalue and its vector, by ARPACK."""
    how: dict[str, Any] = {"which": which, "v0": start, "tol": close, **AGAIN}
    size = min(KRYLOV, len(start) - 1)
    found = eigs(matrix, 1, ncv=size, maxiter=RESTARTS, **how)
    return cast(tuple[np.ndarray, np.ndarray], found)


class _Block(LinearOperator):
    """The matrix among some of the weights, with a multiple of the identity."""

    def __init__(
        self, products: Products, part: np.ndarray, weights: int, shift: float
    ):
        super().__init__(np.dtype(float), (len(part),) * 2)
        self.products, self.part = products, part
        self.weights, self.shift = weights, shift

    def _matvec(self, vector):
        return self._among(self.products.forward, np.ravel(vector))

    def _rmatvec(self, vector):
        return self._among(self.products.backward, np.ravel(vector))

    def _among(
        self, product: Callable, vector: Inexact[np.ndarray, " part"]
    ) -> Inexact[np.ndarray, " part"]:
        if np.iscomplexobj(vector):
            parts = np.real(vector), np.imag(vector)
            real, imaginary = (self._among(product, each) for each in parts)
            return real + 1j * imaginary
        whole = np.zeros(self.weights)
        whole[self.part] = vector
        return np.asarray(product(whole))[self.part] + self.shift * vector
