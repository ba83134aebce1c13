import numpy as np
from jaxtyping import Float64

from .._checks import checked_count
from ._checks import Seed, checked_generator, checked_length


def separable(
    samples: int, features: int, *, shift: float, seed: Seed
) -> tuple[Float64[np.ndarray, "samples {features}"], Float64[np.ndarray, " samples"]]:
    r"""Random points that a random direction separates with a margin above `shift`.

    $$x_i = u_i + s \, y_i v, \qquad y_i = \operatorname{sign} \langle u_i, v \rangle,$$

    where $u_i$ and the teacher $v$ are uniform on the unit sphere and $s$ = `shift`, so
    that $y_i \langle x_i, v \rangle > s$. With few samples one class may be empty.

    Args:
        samples: The number of points.
        features: The dimension of the points.
        shift: How far each point moves away from the plane, in units of its norm.
        seed: The seed of the draw, or a generator to draw from, which then stands
            behind the numbers used: first the points, then the teacher.

    Returns:
        The inputs `x` and the labels `y`, -1.0 or +1.0.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `x, y = gflow.data.separable(20, 10, shift=0.2, seed=0)`
    """
    shape = (checked_count(samples, "samples"), checked_count(features, "features"))
    shift, random = checked_length(shift, "shift"), checked_generator(seed)
    x = random.normal(size=shape)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    teacher = random.normal(size=features)
    y = np.sign(x @ teacher)
    return x + shift * y[:, None] * teacher / np.linalg.norm(teacher), y
