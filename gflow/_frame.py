r"""The coordinates of one step: moving frames, the clock of growth, units at rest.

On a step $x_b(s) = e^{\sigma_b s} v_b(s)$ for each unit $b$, with $\sigma_b = m_b -
g$: $m_b \geq 0$ is the rate at which the unit grows and $g$ that of the radius, both
frozen at the start, so that $w = e^{\rho_0 + g s} x$. Growth from 1e-100 is then a
constant $v$. In the clock

$$\mathrm ds = \Lambda(x)\, \mathrm d\tau, \qquad \Lambda(x) = |x|^{L-2} \Bigl( \sum_b
  \omega_b |x_b|^2 / |x_b(0)|^2 \Bigr)^{(k-2)/2},$$

with $\omega$ on the units that outgrow the rest and $k$ the degree of the margins in
them, a blow-up $\dot u = u^{k-1}$ is a straight line too.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from ._coordinates import two_norm
from ._field import Field
from ._jacobian import Jacobian
from ._lack import Lack
from ._slides import projector
from ._types import Scalar
from ._walls import Walls, between, without


LOG_GROWTH = 300.0
"""No unit grows by more than e to this on one step: its square must not overflow."""


class Frame(eqx.Module):
    r"""One step's coordinates, and the flow near its start.

    Attributes:
        field: The flow.
        start: The point $x$ at the start.
        log_radius: $\rho_0$.
        length: Of the step, in its own clock.
        dual: $q$ at the start.
        seen: The margins that $q$ is normalized over: see `_seen`.
        lost: Those that walls keep from all large units: not in the clock.
        margins: $z$ at the start.
        jacobian: $J$ at the start, formed or not.
        gradient: $J^\top q$ at the start, as the last step left it.
        unit: The unit of each weight.
        size: The size of the unit of each weight, at the start.
        rate: $m_b$, one entry a weight.
        growth: $g$.
        share: $\omega_b$, one entry a weight.
        power: $k - 2$.
        rest: The weights that stand still.
        walls: Those that hold units at the start.
        basis: Orthonormal directions that they let nothing move along, at the start
            and, as is expected, at the end of the step.
        pulled: What the samples pull at the unit of each weight, one by one.
        floor: What errors of that unit are relative to, at least.
        weight: The root of the share of each weight in the error, over its size.
        portion: One over the number of weights of the unit of each weight.
        rtol: The tolerance that it was made for.
        lack: What its gates miss, if known.
    """

    field: Field
    start: Float[Array, " weights"]
    log_radius: Scalar
    length: Scalar
    dual: Float[Array, " margins"]
    seen: Bool[Array, " margins"]
    lost: Bool[Array, " margins"]
    margins: Float[Array, " margins"]
    jacobian: Jacobian
    gradient: Float[Array, " weights"]
    unit: Int[Array, " weights"]
    size: Float[Array, " weights"]
    rate: Float[Array, " weights"]
    growth: Scalar
    share: Float[Array, " weights"]
    power: Scalar
    rest: Bool[Array, " weights"]
    walls: Walls
    basis: tuple[Float[Array, "walls weights"], Float[Array, "walls weights"]]
    pulled: Float[Array, " weights"]
    floor: Float[Array, " weights"]
    weight: Float[Array, " weights"]
    portion: Float[Array, " weights"]
    rtol: Scalar
    lack: Lack | None = None

    @property
    def sighted(self) -> Bool[Array, " margins"]:
        """The margins that the step knows of."""
        return self.seen | self.lost

    @property
    def sigma(self) -> Float[Array, " weights"]:
        r"""$\sigma = m - g$."""
        return self.rate - self.growth

    def point(
        self, s: Scalar, coordinates: Float[Array, " weights"]
    ) -> Float[Array, " weights"]:
        """The point $x$ of coordinates $v$ at a time of the step."""
        return jnp.exp(self.sigma * s) * coordinates

    def lack_at(self, s: Scalar) -> Float[Array, " weights"]:
        """What the gates miss until then."""
        return jnp.zeros(self.start.size) if self.lack is None else self.lack.at(s)

    def log_radius_at(self, s: Scalar) -> Scalar:
        r"""$\rho_0 + g s$."""
        return self.log_radius + self.growth * s

    def log_growth(self, point: Float[Array, " weights"]) -> Scalar:
        r"""The logarithm of the part of $\Lambda$ that is not the polar clock's."""
        relative = point / self.size
        total = jnp.sum(self.share * relative**2)
        still = self.power == 0
        return self.power / 2 * jnp.log(jnp.where(still, 1.0, total))

    def log_speed(self, point: Float[Array, " weights"]) -> Scalar:
        r"""$\log \Lambda$."""
        return self.log_growth(point) + self.field.coordinates.growth_power * jnp.log(
            two_norm(point)
        )

    def basis_at(self, s: Scalar) -> Float[Array, "walls weights"]:
        """Orthonormal directions that walls let nothing move along then."""
        return between(*self.basis, s / self.length)

    def negative_gradient(
        self,
        s: Scalar,
        point: Float[Array, " weights"],
        dual: Float[Array, " margins"],
    ) -> tuple[Float[Array, " margins"], Float[Array, " weights"]]:
        r"""The margins, and $J^\top q / \Lambda$, of what may move at a time."""
        margins, pullback = jax.vjp(self.field.margins, point)
        return margins, self.motion(s, point, pullback, dual)

    def motion(
        self,
        s: Scalar,
        point: Float[Array, " weights"],
        pullback: Callable,
        dual: Float[Array, " margins"],
    ) -> Float[Array, " weights"]:
        r"""$J^\top q / \Lambda$, of what may move, by what pulls $q$ back there."""
        pull = without(self.basis_at(s), pullback(dual)[0])
        pull = projector(self.field, point)(pull)
        gradient = self.field.norm.direction(pull)
        motion = gradient * jnp.exp(-self.log_speed(point))
        return jnp.where(self.rest, 0.0, motion)

    def free_rows(
        self,
        s: Scalar,
        point: Float[Array, " weights"],
        rows: Float[Array, "some weights"],
    ) -> Float[Array, "some weights"]:
        """Derivatives of margins at a time and point, in what may move."""
        rest = jnp.broadcast_to(self.rest, rows.shape)
        rows = projector(self.field, point)(without(self.basis_at(s), rows))
        return jnp.where(rest, 0.0, rows)

    def free_pull(
        self, pullback: Callable, dual: Float[Array, " margins"]
    ) -> Float[Array, " weights"]:
        """What dual weights pull at the start, at what may move."""
        pull = without(self.basis[0], pullback(dual)[0])
        pull = projector(self.field, self.start)(pull)
        return jnp.where(self.rest, 0.0, pull)

    def velocity(
        self, s: Scalar, coordinates: Float[Array, " weights"]
    ) -> Float[Array, " weights"]:
        """The velocity of the coordinates $v$, for solvers that know no stages."""
        point = self.point(s, coordinates + self.lack_at(s))
        margins, pullback = jax.vjp(self.field.margins, point)
        motion = self.motion(s, point, pullback, self.dual_weights(margins, s))
        return jnp.exp(-self.sigma * s) * (motion - self.rate * point)

    def dual_weights(
        self, margins: Float[Array, " margins"], s: Scalar
    ) -> Float[Array, " margins"]:
        """$q$ at these margins and this time of the step."""
        log_radius = self.log_radius_at(s)
        return self.field.dual_weights(margins, log_radius, self.seen, self.lost)


def frame_velocity(
    s: Float[ArrayLike, ""], coordinates: Float[Array, " weights"], frame: Frame
) -> Float[Array, " weights"]:
    """The motion in a frame in Diffrax's form, for `diffrax.ODETerm`."""
    return frame.velocity(jnp.asarray(s), coordinates)
