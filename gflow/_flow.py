"""The gradient flow of a network on data: what moves, and what it descends."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

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
        if not np.all(np.abs(y) == 1):
            wrong = np.unique(y[np.abs(y) != 1])[:4].tolist()
            raise ValueError(
                f"`y` must hold -1 and +1 only, but holds {wrong}. "
                "For labels 0 and 1, pass `2 * y - 1`."
            )
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
        return self.y * jax.vmap(network)(self.x)

    def log_loss(self, network: PyTree) -> Scalar:
        r"""$\log \mathcal L$, also where $\mathcal L$ itself would underflow."""
        return log_mean_exp(self.loss.log_loss(self.margins(network)))


def log_mean_exp(values: Float[Array, " n"]) -> Scalar:
    """The logarithm of the mean of the exponentials."""
    return jax.nn.logsumexp(values) - jnp.log(values.size)


def require_x64() -> None:
    """Refuse to work in float32, where a limit to 1e-12 has no meaning.

    Raises:
        ValueError: If JAX runs without 64-bit floats.
    """
    if not jax.config.read("jax_enable_x64"):
        raise ValueError(
            "gflow needs 64-bit floats, but JAX runs in 32 bits. Before any array is "
            'made, call `jax.config.update("jax_enable_x64", True)`.'
        )


def checked_array(value: ArrayLike, name: str) -> np.ndarray:
    """An argument as a finite float64 array, or an error that names it."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"`{name}` must hold real numbers, but has {array.dtype}.")
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        raise ValueError(
            f"`{name}` must be float64, but is {array.dtype}. If these digits are "
            f"all there is, pass `{name}.astype('float64')`."
        )
    array = array.astype(np.float64)
    if not np.all(np.isfinite(array)):
        raise ValueError(
            f"`{name}` must be finite, but {np.sum(~np.isfinite(array))} of its "
            f"{array.size} entries are NaN or inf."
        )
    return array
