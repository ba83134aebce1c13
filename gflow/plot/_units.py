"""What tells one unit of a network from another in a picture."""

import jax
import numpy as np
from jaxtyping import Float64

from .. import _tree
from .._curve import AbstractCurve
from .._flow import AbstractFlow
from ..neurons import shares
from ._axes import BLUE, GRAY, VERMILION


def sizes(curve: AbstractCurve, layer: int) -> Float64[np.ndarray, " units"]:
    """The share of each unit in the squared norm at the end."""
    return np.asarray(shares(curve[-1], layer))


def incoming(curve: AbstractCurve, layer: int) -> Float64[np.ndarray, "times units"]:
    """The norm of the incoming weights of each unit, relative to all weights."""
    leaf = np.asarray(jax.tree.leaves(_tree.parameters(curve.direction))[layer])
    return np.linalg.norm(leaf.reshape(*leaf.shape[:2], -1), axis=2)


def outgoing_colors(curve: AbstractCurve, layer: int) -> list[str]:
    """By the sign of the last outgoing weight, if the next layer is a scalar output."""
    leaves = jax.tree.leaves(_tree.parameters(curve.direction))
    after = np.asarray(leaves[layer + 1])[-1]
    if after.ndim == 1:
        return [BLUE if weight > 0 else VERMILION for weight in after]
    return [GRAY] * after.shape[1]


def unit_inputs(flow: AbstractFlow) -> tuple[np.ndarray, np.ndarray]:
    """The directions of the inputs, one a row, and +1, -1 or 0 for no sign."""
    x = np.asarray(flow.x).reshape(flow.samples, -1)
    length = np.linalg.norm(x, axis=1)
    labels = np.asarray(flow.y) if flow.kind == "signs" else np.zeros(len(x))
    return x[length > 0] / length[length > 0, None], labels[length > 0]
