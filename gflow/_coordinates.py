r"""How weights are written: as a point of norm one and a log-radius, or as they are.

Solvers move a point. On the sphere it stands for $w = e^\rho x$, and is brought back to
norm one after each step: what the loss sees of the radius is $R = e^{L\rho}$ alone.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._types import AnyArray, Scalar


SMALLEST = 1e-150
"""The square of the norm of smaller weights has few digits, or none."""


def two_norm(vector: Float[Array, " n"]) -> Scalar:
    """The Euclidean norm."""
    return jnp.sqrt(jnp.dot(vector, vector))


class AbstractCoordinates(eqx.Module):
    """The coordinates of the weights."""

    @abc.abstractmethod
    def start(
        self, vector: Float[np.ndarray, " weights"]
    ) -> tuple[Float[Array, " weights"], Float[Array, ""]]:
        """The point and the log-radius of weights; safe down to norms of 1e-300."""

    @abc.abstractmethod
    def back(self, point: Float[Array, " weights"]) -> Float[Array, " weights"]:
        """A point, brought back to where points are kept."""

    @abc.abstractmethod
    def gradient_back(
        self, point: Float[Array, " weights"], gradient: Float[Array, " weights"]
    ) -> Float[Array, " weights"]:
        """The gradient at a point that is brought back, from that at the point."""

    @abc.abstractmethod
    def beside(self, log_radius: Float[AnyArray, ""]) -> Scalar:
        """What of the logarithm of the radius is kept beside the point."""

    @abc.abstractmethod
    def growth(
        self, point: Float[Array, " weights"], motion: Float[Array, " weights"]
    ) -> Scalar:
        r"""How fast a motion makes $\rho$ grow."""

    @property
    @abc.abstractmethod
    def power(self) -> Scalar:
        """Margins of the weights are those at the point, times the radius to this."""

    @property
    @abc.abstractmethod
    def growth_power(self) -> Scalar:
        r"""The polar clock runs at $|x|$ to this power."""


class Sphere(AbstractCoordinates):
    """Polar coordinates, for homogeneous networks that classify."""

    degree: Scalar

    def start(self, vector):
        largest = np.max(np.abs(vector))
        radius = np.linalg.norm(vector / largest)
        log_radius = np.log(radius) + np.log(largest)
        return jnp.asarray(vector / largest / radius), jnp.asarray(log_radius)

    def back(self, point):
        return point / two_norm(point)

    def gradient_back(self, point, gradient):
        return gradient / two_norm(point) ** (self.degree - 1)

    def beside(self, log_radius):
        return log_radius

    def growth(self, point, motion):
        return jnp.dot(point, motion) / two_norm(point) ** 2

    @property
    def power(self):
        return self.degree

    @property
    def growth_power(self):
        return self.degree - 2


class Flat(AbstractCoordinates):
    """The weights as they are, for all other flows."""

    def start(self, vector):
        size = np.max(np.abs(vector))
        if size < SMALLEST:
            raise ValueError(
                f"`network` must have weights of {SMALLEST:.0e} and more here, but the "
                f"largest is {size:.1e}: squares would underflow, and without polar "
                "coordinates nothing scales them."
            )
        return jnp.asarray(vector), jnp.zeros(())

    def back(self, point):
        return point

    def gradient_back(self, point, gradient):
        return gradient

    def beside(self, log_radius):
        return jnp.zeros_like(log_radius)

    def growth(self, point, motion):
        return jnp.zeros(())

    @property
    def power(self):
        return jnp.zeros(())

    @property
    def growth_power(self):
        return jnp.zeros(())
