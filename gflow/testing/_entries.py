"""What a loss of one margin keeps beside the contract of all losses."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._losses import AbstractMarginLoss
from ._differences import nearest, one_sided
from ._report import require, require_all, require_close


METHODS = ("log_loss", "log_weight", "weight_decay")


def check_entries(loss: AbstractMarginLoss, margins: Float[np.ndarray, " n"]) -> None:
    """Each entry alone, in any shape; slopes; and weights that decay."""
    name = type(loss).__name__
    grid = margins[: margins.size // 4 * 4].reshape(-1, 2, 2)
    values = {}
    for method in METHODS:
        fn = eqx.filter_jit(getattr(loss, method))
        values[method] = np.asarray(fn(jnp.asarray(margins)))
        law = f"`{name}.{method}` must act on each entry of an array of any shape"
        out = np.asarray(fn(jnp.asarray(grid)))
        require(out.shape == grid.shape, law, f"maps {grid.shape} to {out.shape}")
        expected = values[method][: grid.size].reshape(grid.shape)
        room = 1e-13 * np.maximum(1.0, np.abs(expected))
        require_close(out, expected, room, law, lambda at: f"at margin {grid[at]:.6g}")
        law = f"`{name}.{method}` must be finite at all finite margins"
        require_all(
            np.isfinite(values[method]),
            law,
            lambda at, method=method: (
                f"is {values[method][at]} at margin {margins[at]:.6g}"
            ),
        )
    decay = values["weight_decay"]
    require_all(
        decay >= 0,
        f"`{name}.weight_decay` must not be negative",
        lambda at: f"is {decay[at]:.6g} at margin {margins[at]:.6g}",
    )
    log_weight = eqx.filter_jit(loss.log_weight)
    found, room = nearest(
        decay,
        one_sided(
            lambda z: -np.asarray(log_weight(jnp.asarray(z[:, 0]))), margins[:, None], 0
        ),
    )
    require_close(
        decay,
        found,
        room,
        f"`{name}.weight_decay` must be minus the slope of `log_weight`",
        lambda at: f"at margin {margins[at]:.6g}",
    )
