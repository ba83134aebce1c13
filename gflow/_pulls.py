r"""What the samples pull at the weights: $J(\theta)^\top q$, on kinks as well.

Where a curve slides along kinks, its motion is the part of this sum that keeps
$u_k = 0$: with all other gates as the curve has them it is projected off the span of
the $\nabla u_k$. That is the shortest element of Clarke's subdifferential wherever the
flow is well defined. What JAX takes for the derivative there is another one.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from . import _tree
from ._flow import AbstractFlow
from ._gates import frozen
from ._point import Point


DEPENDENT = 1e-12
"""Eigenvalues of the Gram matrix of normals of norm one below this are zero: there
these depend on each other."""


def margins_and_pullback(flow: AbstractFlow, network: PyTree):
    r"""The margins $z$, and the map $q \mapsto J^\top q$ onto trees of parameters."""
    moving, still = _tree.partition(network)
    margins, pullback = jax.vjp(lambda p: flow.margins(eqx.combine(p, still)), moving)
    return margins, lambda weights: pullback(weights)[0]


def pull_at(point: Point) -> PyTree:
    r"""$J(\theta)^\top q$ as its flow follows it, with the shape of the parameters.

    Of a point that no curve has recorded the gates of, it is what JAX takes.
    """
    weights = jnp.asarray(point.weights)
    if point.sides is None:
        return margins_and_pullback(point.flow, point.direction)[1](weights)
    flow, kinks, on = point.flow, point.known_kinks(), point.sides
    moving, still = _tree.partition(point.direction)
    theta, unravel = ravel_pytree(moving)

    def sample(theta, on, x, y):
        network = eqx.combine(unravel(theta), still)
        return frozen(flow.sample_margins, kinks, on, network, x, y)

    def total(theta):
        each = jax.vmap(sample, (None, 0, 0, 0))(theta, on, flow.x, flow.y)[0]
        return jnp.dot(weights, jnp.ravel(each))

    pull = jax.grad(total)(theta)
    if point.slides is not None and point.slides.size:

        def normal(number):
            k, own = jnp.divmod(jnp.maximum(number, 0), kinks.count)

            def value(theta):
                return sample(theta, on[k], flow.x[k], flow.y[k])[1][own]

            return jnp.where(number >= 0, jax.grad(value)(theta), 0.0)

        pull = _off(jax.lax.map(normal, point.slides), pull)
    return unravel(pull)


def _off(
    normals: Float[Array, "some weights"], vector: Float[Array, " weights"]
) -> Float[Array, " weights"]:
    """The part of a vector orthogonal to all of some others, of which some are zero."""
    sizes = jnp.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / jnp.where(sizes > 0, sizes, 1.0)
    values, vectors = jnp.linalg.eigh(normals @ normals.T)
    inverse = jnp.where(values > DEPENDENT, 1 / jnp.where(values > 0, values, 1.0), 0.0)
    for _ in range(2):  # the second time what rounding has left
        shares = vectors @ (inverse * (vectors.T @ (normals @ vector)))
        vector = vector - shares @ normals
    return vector
