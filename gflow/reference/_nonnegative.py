import numpy as np
import scipy.optimize
from jaxtyping import ArrayLike, Float64

from .._checks import checked_array


def nonnegative_multipliers(
    vector: ArrayLike, gradients: ArrayLike
) -> Float64[np.ndarray, " samples"]:
    r"""The $\lambda \geq 0$ for which $\sum_i \lambda_i g_i$ is nearest to a vector.

    With the weights as vector and gradients of the margins as rows these are the
    multipliers of smallest stationarity residual. The active ones are refitted by least
    squares, so that they carry full precision.

    Args:
        vector: What to approximate, shape (weights,).
        gradients: $g_i$, one a row, shape (samples, weights).

    Returns:
        One multiplier a row. If gradients are dependent there are others; those that
        are not zero here belong to independent ones.

    Raises:
        ValueError: If the shapes do not fit, or an array holds NaN or inf.

    Example:
        `nonnegative_multipliers([1.0, -1.0], [[1.0, 0.0], [0.0, 1.0]])` is (1, 0).

    References:
        Lawson and Hanson (1974), "Solving Least Squares Problems", chapter 23.
    """
    target, rows = (
        checked_array(vector, "vector"),
        checked_array(gradients, "gradients"),
    )
    if rows.ndim != 2 or target.shape != rows.shape[1:]:
        raise ValueError(
            "`gradients` must have shape (samples, weights) and `vector` (weights,), "
            f"but have {rows.shape} and {target.shape}."
        )
    multipliers = np.zeros(len(rows))
    if rows.size == 0:
        return multipliers
    # The triangular factor has the same least squares in fewer rows.
    basis, triangle = np.linalg.qr(rows.T)
    push, _ = scipy.optimize.nnls(triangle, basis.T @ target)
    active = np.flatnonzero(push)
    fitted = np.linalg.lstsq(rows[active].T, target)[0]
    multipliers[active] = np.maximum(fitted, 0.0)
    return multipliers
