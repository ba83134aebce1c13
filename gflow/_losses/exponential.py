import jax.numpy as jnp

from .abstract import AbstractMarginLoss


class Exponential(AbstractMarginLoss):
    r"""The exponential loss $\ell(z) = e^{-z}$ of $z = y f(x)$, $y = \pm 1$."""

    def log_loss(self, margin):
        return -margin

    def log_weight(self, margin):
        return -margin

    def weight_decay(self, margin):
        return jnp.ones_like(margin)

    def margin_of(self, log_loss):
        return -log_loss
