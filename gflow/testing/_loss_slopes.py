"""Whether the derivatives that a loss states are those of its values."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._losses import AbstractLoss
from ._differences import nearest, one_sided
from ._report import require, require_all, require_close


class Called:
    """The methods of a loss, compiled, from NumPy to NumPy."""

    def __init__(self, loss: AbstractLoss):
        self.loss, self.name = loss, type(loss).__name__
        self._log_losses = eqx.filter_jit(loss.log_losses)
        self._log_weights = eqx.filter_jit(loss.log_weights)
        self._margin_of = eqx.filter_jit(loss.margin_of)

    def log_losses(self, margins: np.ndarray) -> np.ndarray:
        """As the loss has them."""
        return np.asarray(self._log_losses(jnp.asarray(margins)))

    def log_weights(self, margins: np.ndarray) -> np.ndarray:
        """As the loss has them."""
        return np.asarray(self._log_weights(jnp.asarray(margins)))

    def margin_of(self, log_loss: float) -> float:
        """As the loss has it."""
        return float(self._margin_of(jnp.asarray(log_loss)))


def check_slopes(
    called: Called, margins: Float[np.ndarray, "points per_sample"]
) -> None:
    """Weights and their slopes, against differences and against JAX."""
    _check_weights(called, margins)
    _check_weight_slopes(called, margins)


def _check_weights(
    called: Called, margins: Float[np.ndarray, "points per_sample"]
) -> None:
    name, per_sample = called.name, margins.shape[1]
    log_losses, log_weights = called.log_losses(margins), called.log_weights(margins)
    # d log l / d z_k = -g_k / l, and never formed outside logarithms.
    stated = -np.exp(log_weights - log_losses[:, None])
    # What rounding of the two logarithms leaves of their difference.
    size = np.abs(log_weights) + np.abs(log_losses)[:, None]
    lost = np.abs(stated) * np.expm1(np.minimum(4 * np.finfo(float).eps * size, 700.0))
    gradient = jax.jit(jax.vmap(jax.grad(called.loss.log_losses)))
    by_jax = np.asarray(gradient(jnp.asarray(margins)))
    law = f"`jax.grad` of `{name}.log_losses` must be finite at all finite margins"
    require_all(
        np.isfinite(by_jax),
        law,
        lambda at: f"is {by_jax[at]} at margins {margins[at[0]]}",
    )
    for k in range(per_sample):
        found, room = nearest(
            stated[:, k], one_sided(called.log_losses, margins, axis=k)
        )
        law = (
            f"`{name}.log_weights` must be log g with g = -dl/dz, so that -g/l is the "
            "slope of `log_losses`"
        )
        require_close(stated[:, k], found, room + lost[:, k], law, _at(margins, k))
        law = f"`jax.grad` of `{name}.log_losses` must be its slope"
        found, room = nearest(
            by_jax[:, k], one_sided(called.log_losses, margins, axis=k)
        )
        require_close(by_jax[:, k], found, room, law, _at(margins, k))


def _check_weight_slopes(
    called: Called, margins: Float[np.ndarray, "points per_sample"]
) -> None:
    name, per_sample = called.name, margins.shape[1]
    diagonal, shares = eqx.filter_jit(called.loss.weight_slopes)(jnp.asarray(margins))
    for part in [p for p in (diagonal, shares) if p is not None]:
        law = f"`{name}.weight_slopes` must return arrays of the shape of the margins"
        fits = np.shape(part) == margins.shape
        require(fits, law, f"returns one of shape {np.shape(part)}")
        law = f"`{name}.weight_slopes` must be finite at all finite margins"
        require_all(
            np.isfinite(part),
            law,
            lambda at, part=part: f"is {part[at]} at margins {margins[at[0]]}",
        )
    # -d log g_k / d z_j, row k and column j.
    off = np.zeros(margins.shape) if shares is None else -np.asarray(shares)
    stated = np.repeat(off[:, None, :], per_sample, axis=1)
    stated[:, np.arange(per_sample), np.arange(per_sample)] = np.asarray(diagonal)
    law = (
        f"`{name}.weight_slopes` must be minus the slopes of `log_weights` (the "
        "diagonal, and shares p_j where others are -p_j)"
    )
    for j in range(per_sample):
        found, room = nearest(
            stated[..., j], one_sided(lambda z: -called.log_weights(z), margins, axis=j)
        )
        require_close(stated[..., j], found, room, law, _at(margins, j))


def _at(margins: np.ndarray, k: int):
    return lambda at: f"in margin {k} at margins {margins[at[0]]}"
