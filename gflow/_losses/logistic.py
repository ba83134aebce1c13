import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from .abstract import AbstractMarginLoss


SHORT = 1e-3
"""On a way so short the mean of a slope is that in the middle, to 1e-7."""


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

    def slopes_toward(self, margins, rise):
        # On a way to smaller weights alone: on others they are steepest at the start.
        log_weight, start = self.log_weight(margins), self.weight_decay(margins)
        goal = jnp.where(rise < 0, log_weight + rise, -1.0)  # log g < 0
        # log(expm1(-goal)), which is -goal far out.
        small = -goal < 1
        inner = jnp.log(jnp.expm1(jnp.where(small, -goal, 1.0)))
        end = jnp.where(small, inner, -goal + jnp.log1p(-jnp.exp(goal)))
        way = end - margins
        long = way > SHORT
        mean = jnp.where(long, (log_weight - goal) / jnp.where(long, way, 1.0), 0.0)
        mean = jnp.where(long, mean, self.weight_decay(margins + way / 2))
        # Rounding aside, it is between those at the ends.
        mean = jnp.clip(mean, start, jnp.maximum(start, self.weight_decay(end)))
        return jnp.where(rise < 0, mean, start), None

    def margin_of(self, log_loss):
        # -log(expm1(e^u)): below u = -37 expm1 is the identity to the last bit, and
        # above e^u = 37 the 1 is lost.
        near = (log_loss >= -37) & (log_loss <= math.log(37.0))
        inner = -jnp.log(jnp.expm1(jnp.exp(jnp.where(near, log_loss, 0.0))))
        outer = jnp.where(log_loss < 0, -log_loss, -jnp.exp(log_loss))
        return jnp.where(near, inner, outer)
