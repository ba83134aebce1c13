"""Integrals of positive functions that are known at the samples only."""

import numpy as np
from jaxtyping import Float64
from scipy.interpolate import PchipInterpolator


POINTS, WEIGHTS = np.polynomial.legendre.leggauss(12)


def increments(
    values: Float64[np.ndarray, " times"], axis: Float64[np.ndarray, " times"]
) -> Float64[np.ndarray, " steps"]:
    r"""$\int f\,\mathrm dx$ over each step, for positive $f$ and increasing $x$.

    The logarithm of $f$ is interpolated by monotone cubics in the logarithm of the
    distance from the start, so that exponential and power laws, of which late flows are
    made, are followed over long steps. Nothing cancels.

    Args:
        values: $f$ at the samples.
        axis: $x$ at the samples.
    """
    u = np.log(axis - axis[0] + (axis[1] - axis[0]))
    log_values = np.log(np.maximum(values, 1e-300)) + u
    curve = PchipInterpolator(u, log_values)
    steps = np.diff(u)
    inner = u[:-1, None] + steps[:, None] * (1 + POINTS) / 2
    return np.exp(curve(inner)) @ WEIGHTS * steps / 2


def from_end(steps: Float64[np.ndarray, " steps"]) -> Float64[np.ndarray, " times"]:
    """The sum of all later increments at each sample; zero at the last."""
    return np.append(np.cumsum(steps[::-1])[::-1], 0.0)
