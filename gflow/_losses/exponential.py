from typing import ClassVar

import jax.numpy as jnp

from .abstract import AbstractMarginLoss


class Exponential(AbstractMarginLoss):
    r"""The exponential loss $\ell(z) = e^{-z}$ of $z = y f(x)$, $y = \pm 1$.

    With $C > 2$ classes, the sum over other classes $\sum_{k \neq y} e^{-(f_y - f_k)}$.
    """

    labels: ClassVar = ("signs", "classes")

    @property
    def tail(self):
        return 1.0

    def log_loss(self, margin):
        return -margin

    def log_weight(self, margin):
        return -margin

    def weight_decay(self, margin):
        return jnp.ones_like(margin)

    def margin_of(self, log_loss):
        return -log_loss
