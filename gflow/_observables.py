"""What a solve keeps of the points that it passes, in place of them."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from ._text import table


class Observables(eqx.Module):
    """What `SaveAt(observables=fn)` has kept; the leading axis of arrays is time.

    Attributes:
        tau: The clock of the curve.
        log_t: Logarithm of physical time.
        log_radius: Logarithm of the norm of all weights.
        log_loss: Logarithm of the mean loss.
        values: What `fn` returned at these times: an array, or a dictionary of them.
    """

    tau: Float[np.ndarray, " times"]
    log_t: Float[np.ndarray, " times"]
    log_radius: Float[np.ndarray, " times"]
    log_loss: Float[np.ndarray, " times"]
    values: Any

    def __len__(self) -> int:
        return len(self.tau)

    def __repr__(self) -> str:
        """When, and what of which shape."""
        rows = {"times": str(len(self))}
        if len(self):
            first, last = float(self.log_t[0]), float(self.log_t[-1])
            rows["log t"] = f"{first:.6g} to {last:.6g}"
        for name, value in named(self.values).items():
            rows[name] = f"{value.dtype}, shape {value.shape}"
        return table("Observables", rows)


ALONE = "values"
"""The name of what has none."""


def named(values: Any) -> dict[str, Array | np.ndarray]:
    """The arrays by name; one alone has the name `ALONE`."""
    return values if isinstance(values, dict) else {ALONE: values}


def unnamed(values: dict[str, Any]) -> Any:
    """What `named` was made of."""
    return values[ALONE] if set(values) == {ALONE} else values


def stacked(chunks: list[Observables]) -> Observables:
    """Chunks as one."""
    return jax.tree.map(lambda *rows: np.concatenate(rows), *chunks)
