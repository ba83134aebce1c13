"""What frozen gates miss on a step."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._types import Scalar


class Lack(eqx.Module):
    r"""What the right gates would have added to a step, with that of the frozen ones.

    Where $x = y + d$ with this $d$, $y' = F(x)$ at frozen gates: what a solver steps.

    Attributes:
        times: Of the step.
        values: $d$ there, in its coordinates; lines lie between.
    """

    times: Float[Array, " times"]
    values: Float[Array, "times weights"]

    def at(self, s: Scalar) -> Float[Array, " weights"]:
        """$d$ at a time; beyond the last it goes on."""
        after = jnp.clip(jnp.searchsorted(self.times, s), 1, self.times.size - 1)
        low, high = self.times[after - 1], self.times[after]
        part = (s - low) / jnp.where(high > low, high - low, 1.0)
        below, above = self.values[after - 1], self.values[after]
        return below + part * (above - below)
