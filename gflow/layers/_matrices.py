r"""The layers of a network as matrices, and their singular values.

A layer is one array of weights: a matrix (out, in), a vector (in,) as a matrix of one
row, a kernel (out, ...) with its other axes made one. Layers stand in the order of the
leaves of the network, which is the order of evaluation for `gflow.nn`.
"""

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .. import _tree


Matrix = Float[Array, "out in"]


def matrices(network: PyTree) -> list[Matrix]:
    """The layers as matrices, in the order of the leaves."""
    leaves = jax.tree.leaves(_tree.parameters(network))
    return [leaf.reshape(leaf.shape[0] if leaf.ndim > 1 else 1, -1) for leaf in leaves]


def chained(network: PyTree, caller: str) -> list[Matrix]:
    """The layers as matrices that can be multiplied, each onto the one before it.

    Raises:
        ValueError: If a layer has not one column for each row of the one before.
    """
    chain = matrices(network)
    for layer, (before, after) in enumerate(itertools.pairwise(chain)):
        if after.shape[1] != before.shape[0]:
            raise ValueError(
                f"`{caller}` needs a `network` whose layers are matrices, each with a "
                f"column for each row of the one before, but array {layer + 1} has "
                f"{after.shape[1]} columns after {before.shape[0]} rows. Use a network "
                "of `gflow.nn`."
            )
    return chain


def unit(matrix: Matrix) -> Matrix:
    """A matrix divided by its Frobenius norm; NaN if it is zero."""
    matrix = matrix / jnp.max(jnp.abs(matrix))
    return matrix / jnp.linalg.norm(matrix)


def singular_values(matrix: Matrix) -> Float[Array, " rank"]:
    """Decreasing, those of the matrix divided by its Frobenius norm."""
    return jnp.linalg.svd(unit(matrix), compute_uv=False)
