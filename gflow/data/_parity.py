import numpy as np
from jaxtyping import Float64

from .._checks import checked_count
from ._checks import Seed, checked_generator


MOST_FEATURES = 20  # 2^20 points of 20 features fill 168 MB


def parity(
    features: int,
    order: int = 2,
    *,
    samples: int | None = None,
    seed: Seed | None = None,
) -> tuple[Float64[np.ndarray, "samples {features}"], Float64[np.ndarray, " samples"]]:
    r"""A sparse parity: the label is the product of the signs of a few features.

    $$x \in \{\pm 1/\sqrt d\}^d, \qquad y = d^{k/2} \, x_1 x_2 \cdots x_k$$

    with $d$ = `features` and $k$ = `order`. All points have norm one. For $k \geq 2$ no
    linear function of $x$ correlates with $y$ over the whole cube; for $k = 1$ the
    first feature alone decides, with linear margin $1/\sqrt d$.

    Args:
        features: The dimension $d$.
        order: How many of the first features decide, 1 to `features`.
        samples: Draw so many points, uniform and independent, so that some may occur
            twice; if `None`, every one of the $2^d$ points occurs once.
        seed: The seed of the draw, or a generator to draw from; needed with `samples`,
            and only there.

    Returns:
        The inputs `x` and the labels `y`, -1.0 or +1.0.

    Raises:
        ValueError: If an argument is out of its range, or one of `samples` and `seed`
            is given without the other, or all $2^d$ points would fill the memory.

    Example:
        `x, y = gflow.data.parity(4)`, 16 points.

    References:
        Telgarsky (2022), "Feature Selection with Gradient Descent on Two-layer
        Networks in Low-rotation Regimes", arXiv:2208.02789: the 2-sparse parity.
    """
    features, order = checked_count(features, "features"), checked_count(order, "order")
    if order > features:
        raise ValueError(
            f"`order` must be at most `features`, but is {order} > {features}. "
            "Pass more features."
        )
    if (samples is None) != (seed is None):
        raise ValueError(
            "`samples` and `seed` must be given together, but are "
            f"{samples} and {seed}. For every point once, pass neither."
        )
    if samples is None or seed is None:
        if features > MOST_FEATURES:
            raise ValueError(
                f"`features` must be at most {MOST_FEATURES} for all points, but is "
                f"{features}. Pass `samples` and `seed` for a random part of them."
            )
        bits = (np.arange(2**features)[:, None] >> np.arange(features)) & 1
    else:
        shape = (checked_count(samples, "samples"), features)
        bits = checked_generator(seed).integers(2, size=shape)
    signs = 1.0 - 2.0 * bits
    return signs / np.sqrt(features), np.prod(signs[:, :order], axis=1)
