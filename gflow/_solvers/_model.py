r"""The linear model of a stage: how its point answers to a defect and to weights.

Newton's method on a stage $\theta = \phi + \eta F(\theta, q)$ moves by
$A^{-1}(-d + \eta P J^\top \mathrm dq)$ with $A = c I - \eta P H P$, where $c = 1 + \eta
\langle q, L z \rangle$ is the curvature of the sphere and $H = \sum_i q_i \nabla^2 z_i$
that of the network. For a smooth network $A \approx c I$ serves, and Anderson
acceleration removes the rest. Where the flow slides along a kink of width $\epsilon$,
$H$ is of size $-1/\epsilon$: then $A$ is formed and factored, if there are few weights.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._field import AbstractField, Linearization, State
from .._types import Scalar


FEW_WEIGHTS = 400
"""The most weights N for which a Hessian is formed and factored, at N^3/3."""

STIFF = 1.0
r"""The norm of $\eta P H P / c$ from which on the next step forms $A$ at once."""


class StageModel(eqx.Module):
    r"""The Jacobian of the margins and the matrix $A$, at one point.

    Attributes:
        jacobian: $J$.
        response: Rows $A^{-1} P J^\top$, one a margin, times the speed of the clock.
        gram: $J A^{-1} P J^\top$, positive semi-definite, times the speed.
        factor: The lower Cholesky factor of $A$; of size zero for many weights.
        damping: $c$.
        flat: Whether $A = c I$, and `factor` means nothing.
        stiff: Whether the curvature of the network exceeds $c$.
    """

    jacobian: Float[Array, "margins weights"]
    response: Float[Array, "margins weights"]
    gram: Float[Array, "margins margins"]
    factor: Float[Array, "size size"]
    damping: Scalar
    flat: Bool[Array, ""]
    stiff: Bool[Array, ""]

    def undo(self, defect: Float[Array, " weights"]) -> Float[Array, " weights"]:
        """$A^{-1}$ times a vector."""
        if self.factor.size == 0:
            return defect / self.damping

        def solve():
            half = _solve_lower(self.factor, defect[:, None], False)
            return _solve_lower(self.factor, half, True)[:, 0]

        return jax.lax.cond(self.flat, lambda: defect / self.damping, solve)


def flat_model(linear: Linearization, damping: Scalar) -> StageModel:
    """The model that knows no curvature of the network."""
    weights = linear.start.size
    size = weights if weights <= FEW_WEIGHTS else 0
    factor = linear.speed / damping
    return StageModel(
        jacobian=linear.jacobian,
        response=factor * linear.tangent(),
        gram=factor * linear.gram,
        factor=jnp.zeros((size, size)),
        damping=damping,
        flat=jnp.asarray(True),
        stiff=jnp.asarray(False),
    )


def curved_model(
    field: AbstractField,
    state: State,
    weights: Float[Array, " margins"],
    eta: Scalar,
    damping: Scalar,
) -> StageModel:
    """The model with the curvature of the network; flat where $A$ is not positive.

    It is not where a kink repels the flow and the step is long: a stage may then have
    several solutions, and acceleration from the guess finds the nearest.
    """
    velocity, _ = field.velocity(state[:-1], weights)
    linear = field.linearize(state, velocity)
    tangent, unit = linear.tangent(), linear.start

    def pull(point):
        return jax.vjp(field.margins, point)[1](weights)[0]

    # Reverse mode twice: measured on small networks, half the time of `jax.hessian`.
    _, transposed = jax.vjp(pull, state[:-1])
    (hessian,) = jax.vmap(transposed)(jnp.eye(unit.size))
    radial = hessian @ unit
    outer = jnp.outer(unit, radial - jnp.dot(unit, radial) / 2 * unit)
    curvature = eta * linear.speed * (hessian - outer - outer.T)
    factor = jax.lax.linalg.cholesky(
        damping * np.eye(unit.size) - curvature, symmetrize_input=False
    )
    flat = ~jnp.isfinite(jnp.sum(factor))
    half = jnp.where(
        flat, tangent.T / jnp.sqrt(damping), _solve_lower(factor, tangent.T, False)
    )
    response = jax.lax.cond(
        flat, lambda: tangent / damping, lambda: _solve_lower(factor, half, True).T
    )
    return StageModel(
        jacobian=linear.jacobian,
        response=linear.speed * response,
        gram=linear.speed * (half.T @ half),
        factor=factor,
        damping=damping,
        flat=flat,
        stiff=jnp.sum(curvature**2) > (STIFF * damping) ** 2,
    )


def _solve_lower(factor, right, transpose):
    return jax.lax.linalg.triangular_solve(
        factor, right, left_side=True, lower=True, transpose_a=transpose
    )
