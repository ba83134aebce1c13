"""Margins near one direction, and their derivatives, on the host."""

from typing import Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from .work import Work


BATCH = 64  # directions at once, where the whole curvature is asked


class MarginField(Protocol):
    """What is read of the field of a trajectory, at vectors of weights."""

    def margins(self, point: Float[Array, " weights"]) -> Float[Array, " margins"]:
        """Its margins."""
        ...

    def jacobian(
        self, point: Float[Array, " weights"]
    ) -> tuple[Float[Array, " margins"], Float[Array, "margins weights"]]:
        """Its margins and their derivatives."""
        ...


class Model(eqx.Module):
    r"""The margins of a field, divided by a unit so that the smallest is about one.

    Attributes:
        field: The margins.
        unit: What the margins are divided by.
        work: Counts products with the curvature, if given.
    """

    field: MarginField
    unit: float
    work: Work | None = eqx.field(static=True, default=None)

    def jacobian(
        self, theta: Float64[np.ndarray, " weights"]
    ) -> tuple[Float64[np.ndarray, " margins"], Float64[np.ndarray, "margins weights"]]:
        """The margins and their gradients."""
        margins, gradients = _jacobian(self.field, jnp.asarray(theta))
        return np.asarray(margins) / self.unit, np.asarray(gradients) / self.unit

    def curvature_along(
        self,
        theta: Float64[np.ndarray, " weights"],
        multipliers: Float64[np.ndarray, " margins"],
        direction: Float64[np.ndarray, " weights"],
    ) -> Float64[np.ndarray, " weights"]:
        r"""The curvature $\sum_i \mu_i \nabla^2 z_i$ along a direction."""
        if self.work is not None:
            self.work.count()
        arrays = (jnp.asarray(array) for array in (theta, multipliers, direction))
        return np.asarray(_bend(self.field, *arrays)) / self.unit

    def curvature(
        self,
        theta: Float64[np.ndarray, " weights"],
        multipliers: Float64[np.ndarray, " margins"],
    ) -> Float64[np.ndarray, "weights weights"]:
        r"""The matrix $\sum_i \mu_i \nabla^2 z_i$."""
        if self.work is not None:
            self.work.count(theta.size)
        arrays = (jnp.asarray(array) for array in (theta, multipliers))
        matrix = np.asarray(_curvature(self.field, *arrays)) / self.unit
        return (matrix + matrix.T) / 2


@eqx.filter_jit
def _jacobian(field, theta):
    return field.jacobian(theta)


def _product(field, theta, multipliers, direction) -> Float[Array, " weights"]:
    def pull(theta):
        return jax.vjp(field.margins, theta)[1](multipliers)[0]

    return jax.jvp(pull, (theta,), (direction,))[1]


_bend = eqx.filter_jit(_product)


@eqx.filter_jit
def _curvature(field, theta, multipliers):
    return jax.lax.map(
        lambda direction: _product(field, theta, multipliers, direction),
        jnp.eye(theta.size),
        batch_size=BATCH,
    )
