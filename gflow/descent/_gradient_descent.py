import math

import jax.numpy as jnp
import numpy as np

from .._types import Scalar
from ._abstract import AbstractDescentMethod


class GradientDescent(AbstractDescentMethod):
    r"""Gradient descent with a fixed step, $w_{k+1} = w_k - \eta \nabla \mathcal L$.

    After $k$ steps it has come to $t = k \eta$, so that $\log t$ grows as $\log k$.

    Args:
        step: $\eta$, in the units of physical time.

    Raises:
        ValueError: If `step` is not positive and finite.

    Example:
        `gflow.descent.GradientDescent(step=0.5)`
    """

    log_step: Scalar

    def __init__(self, step: float):
        self.log_step = jnp.asarray(np.log(positive(step, "step")))

    def init(self, network):
        del network
        return None

    def step(self, here, evaluate):
        log_rate = self.log_step + here.log_loss
        return here.moved(self.log_step, log_rate, here.state, evaluate)


def positive(value: float, name: str) -> float:
    """A positive finite number, or an error that names it."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"`{name}` must be a positive number, but is {value!r}.")
    return number
