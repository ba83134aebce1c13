"""What SciPy calls on the way, counted, and what is said where it fails."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._flow import AbstractFlow
from ._velocity import jacobian, velocity


class GivenUpError(Exception):
    """The vector field is of no more use."""


class Counted:
    """The vector field and its Jacobian for SciPy, of weights in units of the start."""

    def __init__(self, flow: AbstractFlow, network: PyTree, max_calls: int):
        self.parts, self.max_calls = (flow, network), max_calls
        self.calls, self.last = 0, 0.0

    def __call__(self, s: float, w: np.ndarray) -> np.ndarray:
        """The vector field, or an end where it is of no use."""
        self.calls += 1
        if self.calls > self.max_calls:
            raise GivenUpError("it took too many calls")
        value = np.asarray(velocity(jnp.asarray(s), jnp.asarray(w), *self.parts))
        if not np.all(np.isfinite(value)):
            raise GivenUpError("the vector field is not finite")
        self.last = s
        return value

    def jacobian(self, s: float, w: np.ndarray) -> np.ndarray:
        """Its derivative."""
        return np.asarray(jacobian(jnp.asarray(s), jnp.asarray(w), *self.parts))

    def text(self, why: str, method: str) -> str:
        """How far it came, and why it ended there."""
        log_t = math.log(math.expm1(self.last)) if self.last > 0 else -math.inf
        log_t = self.last if self.last > 700 else log_t
        return (
            f"{method} gave up near log t = {log_t:.6g} after {self.calls} calls of the"
            f" vector field: {why.rstrip('.')}. Try another `method`, a larger "
            "`rtol`, or earlier times."
        )
