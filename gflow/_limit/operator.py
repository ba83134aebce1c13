"""A symmetric matrix that is known by its products with vectors."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64
from scipy.sparse.linalg import LinearOperator


Vector = Float64[np.ndarray, " size"]


class Symmetric(LinearOperator):
    """The matrix of a function that is linear and symmetric.

    Args:
        size: How long its vectors are.
        product: The matrix times a vector.
    """

    def __init__(self, size: int, product: Callable[[Vector], Vector]):
        super().__init__(np.dtype(float), (size, size))
        self.product = product

    def _matvec(self, vector):
        return self.product(np.ravel(vector))

    def _rmatvec(self, vector):
        return self.product(np.ravel(vector))
