import dataclasses
import itertools

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._point import Point
from .._types import Scalar
from ._matrices import chained


def balance(point: Point) -> tuple[Float[Array, "_width _width"], ...]:
    r"""$W_{k+1}^\top W_{k+1} - W_k W_k^\top$ for each layer and the next.

    Constant along every gradient flow of a product of matrices, whatever the loss: what
    drifts is the error of the integration, times $r^2$. Zero for a balanced start.

    Args:
        point: Of a network whose layers are matrices, in the order of evaluation.

    Returns:
        One symmetric matrix a pair of layers, none for a single layer. In units of
        $r^2$, so that rounding is about $10^{-16} r^2$; `inf` past $r = 10^{154}$.

    Raises:
        ValueError: If the shapes of the layers do not fit together.

    Example:
        `curve.map(gflow.layers.balance)`

    References:
        Ji and Telgarsky (2018), "Gradient descent aligns the layers of deep linear
        networks", arXiv:1810.02032.
    """
    chain = chained(point.direction, "gflow.layers.balance")
    return tuple(
        _scaled(point, after.T @ after - before @ before.T)
        for before, after in itertools.pairwise(chain)
    )


def _scaled(point: Point, value: Array) -> Array:
    """What is of degree two in the weights at the norm of a point; zero stays zero."""
    grown = value * jnp.exp(2 * jnp.asarray(point.log_radius))
    return jnp.where(value == 0, 0.0, grown)


def imbalance(point: Point) -> Scalar:
    r"""The constant $D$ that bounds how far linear layers are from rank one.

    $$D = \max_k \|W_k\|_F^2 - \|W_L\|_F^2
          + \sum_k \| W_k W_k^\top - W_{k+1}^\top W_{k+1} \|_2$$

    Along the flow of a deep linear network, with $D$ at its start,
    $\|W_k\|_F^2 - \|W_k\|_2^2 \leq D$ at all times.

    Args:
        point: Of a network whose layers are matrices, in the order of evaluation.

    Returns:
        A scalar, not negative; 0 if balanced, `inf` past $r = 10^{154}$.

    Raises:
        ValueError: If the shapes of the layers do not fit together.

    Example:
        `gflow.layers.imbalance(curve[0])`

    References:
        Ji and Telgarsky (2018), "Gradient descent aligns the layers of deep linear
        networks", arXiv:1810.02032, where it is written $D$.
    """
    chain = chained(point.direction, "gflow.layers.imbalance")
    squares = jnp.stack([jnp.sum(matrix**2) for matrix in chain])
    gaps = balance(dataclasses.replace(point, log_radius=jnp.zeros(())))
    norms = [jnp.linalg.norm(gap, ord=2) for gap in gaps]
    return _scaled(point, jnp.max(squares) - squares[-1] + sum(norms))
