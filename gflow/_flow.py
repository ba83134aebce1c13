"""The gradient flow of a network on data: what moves, and what it descends."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from ._checks import checked_array, require_signs, require_x64
from ._losses import AbstractMarginLoss
from ._types import Scalar


class GradientFlow(eqx.Module):
    r"""The flow $\dot w = -\nabla \mathcal L(w)$ of a mean loss over labeled points.

    $$\mathcal L(w) = \frac1n \sum_i \ell(z_i(w)), \qquad z_i(w) = y_i f(x_i; w).$$

    A network $f$ is any `eqx.Module` (or other PyTree with `__call__`) that maps one
    input to a scalar; its inexact arrays are the weights $w$.

    Args:
        loss: The loss $\ell$ of one margin, such as `gflow.Logistic()`.
        x: Inputs, one sample per row; any shape of features.
        y: Labels, -1 or +1, each at least once.

    Raises:
        ValueError: If 64-bit mode is off, an array is float32, has the wrong shape, or
            holds NaN or inf, or the labels are not -1 and +1.

    Example:
        `gflow.GradientFlow(gflow.Logistic(), x, y)`
    """

    loss: AbstractMarginLoss
    x: Float[Array, "samples *features"]
    y: Float[Array, " samples"]

    def __init__(self, loss: AbstractMarginLoss, x: ArrayLike, y: ArrayLike):
        if not isinstance(loss, AbstractMarginLoss):
            raise ValueError(
                "`loss` must be a loss such as `gflow.Logistic()`, but is "
                f"{loss!r}. (A class? Call it to make an instance.)"
            )
        require_x64()
        x, y = checked_array(x, "x"), checked_array(y, "y")
        if x.ndim < 2 or x.shape[0] == 0:
            raise ValueError(
                "`x` must have shape (samples, features), samples >= 1, but has shape "
                f"{x.shape}. For one feature, pass `x[:, None]`."
            )
        if y.ndim != 1:
            raise ValueError(
                f"`y` must have shape (samples,), but has shape {y.shape}. "
                "For one column, pass `y[:, 0]`."
            )
        if x.shape[0] != y.shape[0]:
            raise ValueError(
                "`x` and `y` must have as many samples, but have "
                f"{x.shape[0]} and {y.shape[0]}."
            )
        require_signs(y)
        if np.all(y == y[0]):
            raise ValueError(
                f"`y` must hold both classes, -1 and +1, but all {y.shape[0]} labels "
                f"are {y[0]:+.0f}."
            )
        self.loss = loss
        self.x = jnp.asarray(x)
        self.y = jnp.asarray(y)

    def margins(self, network: PyTree) -> Float[Array, " samples"]:
        """The margins $z_i = y_i f(x_i)$ of a network, one a sample."""
        outputs = jax.vmap(network)(self.x)
        if outputs.shape != self.y.shape:
            raise ValueError(
                "`network` must map one input to a scalar, but maps it to shape "
                f"{outputs.shape[1:]}. With two classes, return one number."
            )
        return self.y * outputs

    def log_loss(self, network: PyTree) -> Scalar:
        r"""$\log \mathcal L$, also where $\mathcal L$ itself would underflow."""
        return log_mean_exp(self.loss.log_loss(self.margins(network)))


def log_mean_exp(values: Float[Array, "*shape n"]) -> Float[Array, "*shape"]:
    """The logarithm of the mean of exponentials, along the last axis.

    In a compiled program the maximum and the numbers it is taken from need not agree in
    their last bit, which is far from zero where they are 1e20: without the bounds
    `jax.nn.logsumexp` answers infinity there.
    """
    top = jnp.max(values, axis=-1)
    terms = jnp.exp(jnp.minimum(values - top[..., None], 0.0))
    return top + jnp.log(jnp.clip(jnp.mean(terms, axis=-1), 1 / values.shape[-1], 1.0))
