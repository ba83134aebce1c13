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
