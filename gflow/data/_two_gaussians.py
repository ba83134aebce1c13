import numpy as np
from jaxtyping import Float64

from .._checks import checked_count
from ._checks import Seed, checked_generator, checked_length


def two_gaussians(
    samples: int, features: int, *, distance: float, seed: Seed
) -> tuple[Float64[np.ndarray, "samples {features}"], Float64[np.ndarray, " samples"]]:
    r"""Two Gaussian clouds of unit covariance, one a class.

    $$x_i \sim \mathcal N\left(\tfrac12 \, y_i \, D \, e_1, I\right), \qquad
      y_i = +1, -1, +1, \ldots$$

    with $D$ = `distance` and $e_1$ the first axis. The best classifier is the sign of
    the first feature; it errs with probability $\Phi(-D/2)$. The clouds overlap, yet up
    to `features` points are separable by a plane through zero, with probability one.

    Args:
        samples: The number of points; the classes take turns.
        features: The dimension of the points.
        distance: Between the two means, in standard deviations of one feature.
        seed: The seed of the draw, or a generator to draw from.

    Returns:
        The inputs `x` and the labels `y`, -1.0 or +1.0.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `x, y = gflow.data.two_gaussians(30, 100, distance=2.0, seed=0)`
    """
    shape = (checked_count(samples, "samples"), checked_count(features, "features"))
    distance, random = checked_length(distance, "distance"), checked_generator(seed)
    x = random.normal(size=shape)
    y = 1.0 - 2.0 * (np.arange(samples) % 2)
    x[:, 0] += 0.5 * distance * y
    return x, y
