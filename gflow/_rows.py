"""Margins of all samples and their gradients."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._flow import AbstractFlow


def margin_jacobian(
    flow: AbstractFlow, network: Callable, point: Float[Array, " weights"]
) -> tuple[Float[Array, " margins"], Float[Array, "margins weights"]]:
    """Margins and their gradients at a point, `network` making networks of points."""

    def margins(point, x, y):
        return flow.sample_margins(network(point), x, y)

    return rows_of(margins, flow.per_sample, point, (flow.x, flow.y))


def rows_of(
    margins: Callable, per_sample: int, point: Float[Array, " weights"], samples: tuple
) -> tuple[Float[Array, " margins"], Float[Array, "margins weights"]]:
    """What is a function of a point and a sample, on all samples, and its gradients."""

    def one(point, *sample):
        if per_sample == 1:
            z, row = jax.value_and_grad(lambda p: margins(p, *sample)[0])(point)
            return z[None], row[None]
        z, pullback = jax.vjp(lambda p: margins(p, *sample), point)
        return z, jax.vmap(pullback)(jnp.eye(per_sample))[0]

    z, rows = jax.vmap(one, in_axes=(None, *[0] * len(samples)))(point, *samples)
    return jnp.ravel(z), rows.reshape(-1, point.size)
