"""Problems whose weights start as independent Gaussians of variance 1 / in."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from .. import data
from .._checks import checked_count
from .._flow import GradientFlow
from .._losses import AbstractMarginLoss
from ..nn import MLP, DeepLinear
from ._problem import LOGISTIC, Problem, require_scale


def linear(loss: AbstractMarginLoss = LOGISTIC, scale: float = 1.0) -> Problem:
    r"""Three linear layers, 10-10-10-1, on 20 separable points in 10 dimensions.

    Degree 3, 210 weights. The largest normalized margin is known: $\gamma / 3^{3/2}$,
    with $\gamma$ the linear margin of the points, from `gflow.reference.hard_margin`.

    Args:
        loss: The loss of one margin.
        scale: Multiplies every initial weight; any positive number.

    Returns:
        The flow and the network it starts from.

    Raises:
        ValueError: If `scale` is not positive and finite.

    Example:
        `flow, network = gflow.problems.linear(scale=1e-50)`
    """
    random = np.random.default_rng(0)
    x, y = data.separable(20, 10, shift=0.2, seed=random)
    weights = gaussians(random, [(10, 10), (10, 10), (10,)], scale)
    return Problem(GradientFlow(loss, x, y), DeepLinear.from_weights(weights))


def relu2(loss: AbstractMarginLoss = LOGISTIC, scale: float = 1.0) -> Problem:
    """One hidden layer of 10 squared ReLUs on the points of `linear`.

    Degree 3, 110 weights. On the way to its limit the direction stays near another one
    for long: it is a test of patience, up to log-times of 1e20.

    Args:
        loss: The loss of one margin.
        scale: Multiplies every initial weight; any positive number.

    Returns:
        The flow and the network it starts from.

    Raises:
        ValueError: If `scale` is not positive and finite.

    Example:
        `flow, network = gflow.problems.relu2()`
    """
    return toy(2, loss, scale)


def cubic(loss: AbstractMarginLoss = LOGISTIC, scale: float = 1.0) -> Problem:
    """The points and weights of `relu2` with cubed ReLUs: degree 4, 110 weights.

    Args:
        loss: The loss of one margin.
        scale: Multiplies every initial weight; any positive number.

    Returns:
        The flow and the network it starts from.

    Raises:
        ValueError: If `scale` is not positive and finite.

    Example:
        `flow, network = gflow.problems.cubic()`
    """
    return toy(3, loss, scale)


def held(
    seed: int = 23, loss: AbstractMarginLoss = LOGISTIC, scale: float = 1.0
) -> Problem:
    """One hidden layer of 9 squared ReLUs on 18 separable points in 7 dimensions.

    Degree 3, 72 weights. The default `seed` is a hard one: the direction is held at
    several saddles, and multipliers of the limit vanish.

    Args:
        seed: Of the points; the weights are the same for all.
        loss: The loss of one margin.
        scale: Multiplies every initial weight; any positive number.

    Returns:
        The flow and the network it starts from.

    Raises:
        ValueError: If `scale` is not positive and finite, or `seed` no seed.

    Example:
        `flow, network = gflow.problems.held()`
    """
    x, y = data.separable(18, 7, shift=0.15, seed=seed)
    weights = gaussians(np.random.default_rng(2), [(9, 7), (9,)], scale)
    return Problem(GradientFlow(loss, x, y), MLP.from_weights(weights, power=2))


def digits(
    samples: int = 100,
    width: int = 10,
    loss: AbstractMarginLoss = LOGISTIC,
    scale: float = 1.0,
) -> Problem:
    """One hidden layer of squared ReLUs on images of the digits 3 and 8.

    Degree 3, 65 weights a unit. The images are those of `gflow.data.digits`.

    Args:
        samples: How many images, the first of 357.
        width: How many hidden units.
        loss: The loss of one margin.
        scale: Multiplies every initial weight; any positive number.

    Returns:
        The flow and the network it starts from.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `flow, network = gflow.problems.digits(samples=357, width=64)`
    """
    x, y = data.digits((3, 8), samples=samples)
    shapes = [(checked_count(width, "width"), 64), (width,)]
    weights = gaussians(np.random.default_rng(0), shapes, scale)
    return Problem(GradientFlow(loss, x, y), MLP.from_weights(weights, power=2))


def toy(power: int, loss: AbstractMarginLoss, scale: float) -> Problem:
    """`relu2` for any power of ReLU."""
    random = np.random.default_rng(0)
    x, y = data.separable(20, 10, shift=0.2, seed=random)
    weights = gaussians(random, [(10, 10), (10,)], scale)
    return Problem(GradientFlow(loss, x, y), MLP.from_weights(weights, power=power))


def gaussians(
    random: np.random.Generator, shapes: Sequence[tuple[int, ...]], scale: float
) -> list[Float64[np.ndarray, "*shape"]]:
    """Layers of independent entries of variance 1 / in, times `scale`."""
    require_scale(scale)
    return [scale * (random.normal(size=s) / np.sqrt(s[-1])) for s in shapes]
