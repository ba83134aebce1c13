import itertools

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._point import Point
from ._matrices import chained, unit


TIED = 1e-12
"""Top singular values closer than this, relatively, have no definite vectors."""


def alignments(point: Point) -> Float[Array, " layers-1"]:
    r"""$|\langle v_{k+1}, u_k \rangle|$ for each layer and the next.

    $u_k$ is the top left singular vector of $W_k$ and $v_{k+1}$ the top right one of
    the next layer. All tend to 1 along the flow of deep linear networks on separable
    data.

    Args:
        point: Of a network whose layers are matrices, in the order of evaluation.

    Returns:
        One cosine a pair, between 0 and 1; none for a single layer. NaN where the top
        singular value of either is zero, or not simple to a relative 1e-12.

    Raises:
        ValueError: If the shapes of the layers do not fit together.

    Example:
        `curve.map(gflow.layers.alignments)`

    References:
        Ji and Telgarsky (2018), "Gradient descent aligns the layers of deep linear
        networks", arXiv:1810.02032.
    """
    chain = chained(point.direction, "gflow.layers.alignments")
    tops = [_top_vectors(matrix) for matrix in chain]
    cosines = [
        jnp.abs(jnp.dot(right, left))
        for (left, _), (_, right) in itertools.pairwise(tops)
    ]
    return jnp.stack(cosines) if cosines else jnp.zeros(0)


def _top_vectors(matrix):
    left, values, right = jnp.linalg.svd(unit(matrix), full_matrices=False)
    second = values[1] if len(values) > 1 else 0.0
    simple = second < (1 - TIED) * values[0]
    return jnp.where(simple, left[:, 0], jnp.nan), jnp.where(simple, right[0], jnp.nan)
