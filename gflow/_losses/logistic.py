import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from .abstract import AbstractMarginLoss


class Logistic(AbstractMarginLoss):
    r"""The logistic loss $\ell(z) = \log(1 + e^{-z})$ of $z = y f(x)$, $y = \pm 1$."""

    labels: ClassVar = ("signs",)

    @property
    def tail(self):
        return 1.0

    def log_loss(self, margin):
        # log(log1p(e^-z)): past z = 37 the inner logarithm is e^-z to the last bit.
        # Not `minimum`: its derivative at the seam is one half.
        near = jnp.where(margin > 37, 37.0, margin)
        return jnp.where(margin > 37, -margin, jnp.log(jax.nn.softplus(-near)))

    def log_weight(self, margin):
        return -jax.nn.softplus(margin)

    def weight_decay(self, margin):
        return jax.nn.sigmoid(margin)

    def margin_of(self, log_loss):
        # -log(expm1(e^u)): below u = -37 expm1 is the identity to the last bit, and
        # above e^u = 37 the 1 is lost.
        near = (log_loss >= -37) & (log_loss <= math.log(37.0))
        inner = -jnp.log(jnp.expm1(jnp.exp(jnp.where(near, log_loss, 0.0))))
        outer = jnp.where(log_loss < 0, -log_loss, -jnp.exp(log_loss))
        return jnp.where(near, inner, outer)
