"""A curve as arrays of NumPy."""

import jax
import numpy as np
from jaxtyping import Float

from .. import _tree
from .._trajectory import Trajectory


def directions(curve: Trajectory) -> Float[np.ndarray, "times weights"]:
    """The directions as vectors, one a time."""
    leaves = jax.tree.leaves(_tree.parameters(curve.direction))
    rows = [np.asarray(leaf).reshape(len(curve), -1) for leaf in leaves]
    return np.concatenate(rows, axis=1)


def sample(at: tuple[int, ...]) -> str:
    """Which sample, in words."""
    return f"at sample {at[0]}"


def between(at: tuple[int, ...], values: np.ndarray) -> str:
    """A change from one sample to the next, in words."""
    k = at[0]
    return f"goes from {values[k]:.10g} to {values[k + 1]:.10g} at sample {k + 1}"
