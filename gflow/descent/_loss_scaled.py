import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._types import Scalar
from ._abstract import AbstractDescentMethod
from ._gradient_descent import positive


class LossScaledDescent(AbstractDescentMethod):
    r"""Gradient descent with a step in proportion to 1 / loss, and back-tracking.

    $$\eta = a / \mathcal L(w), \qquad \text{so that} \quad
    w_{k+1} = w_k - a \nabla \log \mathcal L(w_k).$$

    If the loss fell, the factor $a$ grows by `growth`; else the weights are restored
    and $a$ shrinks by `shrinkage`, at the price of the gradient. The loss never rises.

    It is not the flow: for degrees above 2, once $a$ has grown large, a step may leap
    far out and is kept since the loss fell, but the direction is thrown. On 20 images
    of digits it came to $\log t = 10^{72}$ in 1200 gradients, 64 degrees from where
    the flow ends. With `growth=1` it stays near the flow for longer.

    Args:
        rate: $a$ at the start.
        growth: At least 1.
        shrinkage: Greater than 1.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        `gflow.descent.LossScaledDescent()`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890: their loss-based learning rate, with the defaults
        used there, on full batches.
    """

    log_rate: Scalar
    log_growth: Scalar
    log_shrinkage: Scalar

    def __init__(
        self,
        rate: float = 0.1,
        growth: float = 2 ** (1 / 5),
        shrinkage: float = 2 ** (1 / 10),
    ):
        if positive(growth, "growth") < 1:
            raise ValueError(f"`growth` must be at least 1, but is {growth}.")
        if positive(shrinkage, "shrinkage") <= 1:
            raise ValueError(
                f"`shrinkage` must be greater than 1, but is {shrinkage}. "
                "Else a step that fails is tried again for ever."
            )
        self.log_rate = jnp.asarray(np.log(positive(rate, "rate")))
        self.log_growth = jnp.asarray(np.log(np.float64(growth)))
        self.log_shrinkage = jnp.asarray(np.log(np.float64(shrinkage)))

    def init(self, network):
        del network
        return self.log_rate

    def step(self, here, evaluate):
        log_rate, log_step = here.state, here.state - here.log_loss
        raised, lowered = log_rate + self.log_growth, log_rate - self.log_shrinkage
        there = here.moved(log_step, log_rate, raised, evaluate)
        back = eqx.tree_at(lambda p: p.state, here, lowered)
        fell = there.log_loss < here.log_loss  # false also where it is NaN
        new, fixed = eqx.partition(there, eqx.is_array)
        old = eqx.filter(back, eqx.is_array)
        kept = jax.tree.map(lambda a, b: jnp.where(fell, a, b), new, old)
        return eqx.combine(kept, fixed)
