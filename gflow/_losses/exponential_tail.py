import math
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from .abstract import AbstractMarginLoss


class ExponentialTail(AbstractMarginLoss):
    r"""A loss with a tail $e^{-z^\beta}$ that is not that of the exponential.

    $$\ell(z) = e^{-h(z)}, \qquad h(z) = \begin{cases} z^\beta & z \geq 1 \\
      1 + \beta (z - 1) & z < 1 \end{cases}$$

    so that it is continuously differentiable, decreasing on the whole line, and pulls
    misclassified samples too. $\beta = 1$ is the exponential loss.

    Args:
        beta: $\beta > 0$, finite.

    Raises:
        ValueError: If `beta` is not.

    Example:
        `gflow.GradientFlow(gflow.ExponentialTail(0.5), x, y)`

    References:
        Lyu and Li (2020), arXiv:1906.05890, for losses $e^{-h}$ and their smoothed
        margin $h(-\log \mathcal L)^{-1}$. Schechtman and Schreuder (2025),
        arXiv:2502.05668, for these tails.
    """

    beta: float
    labels: ClassVar = ("signs", "classes")

    def __init__(self, beta: float):
        real = isinstance(beta, int | float | np.integer | np.floating)
        if not (real and not isinstance(beta, bool) and 0 < beta < math.inf):
            raise ValueError(
                f"`beta` must be a positive Python number, but is {beta!r}. "
                "For the exponential loss, pass 1.0."
            )
        self.beta = float(beta)

    @property
    def tail(self):
        return self.beta

    def log_loss(self, margin):
        far = jnp.where(margin > 1, margin, 1.0)
        line = 1 + self.beta * (margin - 1)
        return -jnp.where(margin > 1, far**self.beta, line)

    def log_weight(self, margin):
        far = jnp.where(margin > 1, margin, 1.0)
        slope = math.log(self.beta) + (self.beta - 1) * jnp.log(far)
        return self.log_loss(margin) + slope

    def weight_decay(self, margin):
        far = jnp.where(margin > 1, margin, 1.0)
        bend = jnp.where(margin > 1, (1 - self.beta) / far, 0.0)
        return self.beta * far ** (self.beta - 1) + bend

    def margin_of(self, log_loss):
        far = jnp.where(log_loss < -1, -log_loss, 1.0)
        line = 1 + (-log_loss - 1) / self.beta
        return jnp.where(log_loss < -1, far ** (1 / self.beta), line)
