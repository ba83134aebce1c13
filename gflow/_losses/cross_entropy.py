from typing import ClassVar

import jax
import jax.numpy as jnp

from .._logs import log_sum_exp
from .abstract import AbstractLoss
from .logistic import Logistic


class CrossEntropy(AbstractLoss):
    r"""The cross-entropy of a softmax over $C \geq 2$ logits.

    $$-\log \frac{e^{f_y}}{\sum_k e^{f_k}} = \log\Bigl(1 + \sum_{k \neq y} e^{-z_k}
      \Bigr), \qquad z_k = f_y - f_k$$

    the logistic loss of the soft margin $-\log \sum_k e^{-z_k}$. Labels are integers 0
    to $C - 1$, and the network returns $C$ logits.

    Example:
        `gflow.GradientFlow(gflow.CrossEntropy(), x, labels)`
    """

    labels: ClassVar = ("classes",)

    @property
    def tail(self):
        return 1.0

    def log_losses(self, margins):
        return Logistic().log_loss(-log_sum_exp(-margins))

    def log_weights(self, margins):
        soft = -log_sum_exp(-margins)
        # With one margin, the same as `-softplus(margins)`, but for the rounding.
        return -margins - jax.nn.softplus(-soft)[..., None]

    def weight_slopes(self, margins):
        shares = jnp.exp(self.log_weights(margins))
        return jnp.maximum(1 - shares, 0.0), shares

    def margin_of(self, log_loss):
        return Logistic().margin_of(log_loss)
