"""The one loss of targets whose flow gflow follows."""

import jax.numpy as jnp
import numpy as np

from .._losses import AbstractLoss
from ._report import require_close


def check_square(loss: AbstractLoss) -> None:
    """Half the square of the error, its weights |e| and their slopes of one."""
    name = type(loss).__name__
    random = np.random.default_rng(0)
    sizes = np.geomspace(1e-140, 1e140, 57)[:, None]
    for outputs in (1, 3):
        errors = sizes * random.normal(size=(sizes.size, outputs))
        given = jnp.asarray(errors)
        top = np.max(np.abs(errors), axis=1)
        square = np.sum((errors / top[:, None]) ** 2, axis=1)
        slopes, shares = loss.weight_slopes(given)
        spread = np.zeros(errors.shape) if shares is None else shares
        for method, found, expected in (
            (
                "log_losses",
                loss.log_losses(given),
                2 * np.log(top) + np.log(square / 2),
            ),
            ("log_weights", loss.log_weights(given), np.log(np.abs(errors))),
            ("weight_slopes", slopes, np.ones(errors.shape)),
            ("weight_slopes", spread, np.zeros(errors.shape)),
        ):
            law = (
                f"`{name}.{method}` must be that of |e|^2 / 2, the only loss of targets"
                " whose flow is followed (its dual weights are minus the errors)"
            )
            room = 1e-12 * np.maximum(1.0, np.abs(expected))
            require_close(
                np.asarray(found),
                expected,
                room,
                law,
                lambda at, errors=errors: f"at errors {errors[at[0]]}",
            )
    log_loss = np.linspace(-600.0, 600.0, 49)
    found = [float(loss.margin_of(jnp.asarray(u))) for u in log_loss]
    expected = np.sqrt(2.0) * np.exp(log_loss / 2)
    law = f"`{name}.margin_of` must be the size of the error of this loss"
    require_close(
        np.asarray(found),
        expected,
        1e-12 * expected,
        law,
        lambda at: f"at log loss {log_loss[at]:g}",
    )
