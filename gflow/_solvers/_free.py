r"""The Jacobian of what may move in a stage, not formed: by its products."""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._frame import Frame
from .._jacobian import Slopes, gram_by_blocks


BLOCK = 2**25
"""The Gram matrix is made from blocks of rows of so many entries, 256 MB, two at a
time. More blocks are made anew more often."""


class FreeSlopes(eqx.Module):
    """What stands for the matrix in `jacobian @ vector` and `dual @ jacobian`.

    Attributes:
        pull: From dual weights to the motion that they ask for, in a tuple.
        push: From a motion to what it does to the margins.
        over: What each column is divided by, if it is.
    """

    pull: Callable
    push: Callable
    over: Float[Array, " weights"] | None = None

    @classmethod
    def of(cls, frame: Frame, slopes: Slopes) -> "FreeSlopes":
        """At the start of a step."""
        pullback = slopes.pullback()

        def pull(dual):
            return frame.free_pull(pullback, dual)

        none, push = jax.vjp(pull, jnp.zeros_like(frame.dual))
        # Of a linear function the derivative is itself, with all it needs computed.
        return cls(jax.vjp(lambda v: push(v)[0], none)[1], push)

    def __matmul__(self, vector: Float[Array, " weights"]) -> Float[Array, " margins"]:
        vector = vector if self.over is None else vector / self.over
        return self.push(vector)[0]

    def __rmatmul__(self, dual: Float[Array, " margins"]) -> Float[Array, " weights"]:
        (pull,) = self.pull(dual)
        return pull if self.over is None else pull / self.over


def free_gram(
    frame: Frame, slopes: Slopes, damping: Float[Array, " weights"]
) -> Float[Array, "margins margins"]:
    r"""$J D^{-1} J^\top$ of what may move, at the start of a step."""
    rows = partial(frame.free_rows, jnp.zeros(()), frame.start)
    return gram_by_blocks(slopes, rows, damping, BLOCK)
