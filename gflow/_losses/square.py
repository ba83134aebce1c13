import math
from typing import ClassVar

import jax.numpy as jnp

from .abstract import AbstractLoss


class Square(AbstractLoss):
    r"""The square loss $\tfrac12 |f(x) - y|^2$ of regression.

    It has no margins: in their place stand the errors $e = f(x) - y$, one for each
    output, and each pulls the flow by $-e$. Targets are any numbers, one a sample, or
    as many as the network has outputs.

    Example:
        `gflow.GradientFlow(gflow.Square(), x, targets)`
    """

    labels: ClassVar = ("targets",)

    @property
    def tail(self):
        return 2.0

    def log_losses(self, margins):
        largest = jnp.max(jnp.abs(margins), axis=-1)
        unit = jnp.where(largest > 0, largest, 1.0)
        square = jnp.sum((margins / unit[..., None]) ** 2, axis=-1)
        log_half_square = 2 * jnp.log(unit) + jnp.log(square / 2)
        return jnp.where(largest > 0, log_half_square, -math.inf)

    def log_weights(self, margins):
        r"""$\log |e|$, the size of each pull."""
        return jnp.log(jnp.abs(margins))

    def weight_slopes(self, margins):
        return jnp.ones_like(margins), None

    def margin_of(self, log_loss):
        r"""The size of the one error of a sample with this $\log \ell$."""
        return jnp.exp((math.log(2) + log_loss) / 2)
