"""The curve inside of a step."""

import diffrax as dfx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


QUARTERS = np.array([0.25, 0.5, 0.75])
"""The fractions of a step at which it is known, beside its ends."""


class QuarticThroughQuarters(dfx.AbstractLocalInterpolation):
    """The quartic through a step's ends and quarters, with dual weights at these."""

    t0: Float[Array, ""]
    t1: Float[Array, ""]
    y0: Float[Array, " weights"]
    quarters: Float[Array, "3 weights"]
    y1: Float[Array, " weights"]
    dual: Float[Array, "3 margins"]

    def evaluate(self, t0, t1=None, left=True):
        del left
        if t1 is not None:
            return self.evaluate(t1) - self.evaluate(t0)
        powers = ((t0 - self.t0) / (self.t1 - self.t0)) ** np.arange(5)
        nodes = jnp.concatenate([self.y0[None], self.quarters, self.y1[None]])
        return (powers @ _LAGRANGE) @ nodes


_LAGRANGE = np.linalg.inv(np.vander(np.linspace(0, 1, 5), increasing=True))
