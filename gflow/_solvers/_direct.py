r"""Stages of many margins and few weights, solved for the weights alone.

Where the dual weights are a tame function of the margins, $q = q(z(x))$ may be put into
a stage $D x = \beta + \eta F(x, q)$, and Newton's method takes one N x N system,

$$A = D - \eta\,\partial_x F +
  \eta R\, \Lambda^{-1} J^\top (\mathrm{diag}(q) - q q^\top) S J ,$$

with $S = -\partial \log g / \partial z$, factored once for all iterations, in place of
an equation for q in each. Late, where an error of the tolerance changes the dual
weights, that has no digits.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._frame import Frame
from .._jacobian import is_tall
from .._types import Scalar


DIGITS, SHARP = 1e-2, 0.1
"""The rounding in the margins may count as much of the tolerance as the first; and
errors of the tolerance may change the dual weights by the second."""

EPSILON = 2e-16

CAPPED = 1e-6
"""A scale that is smaller than that of the weights by this share of it is capped."""

LOOSE, STIFF = 3.0, 0.3
"""A solution is trusted if no margin that holds the weights by more than the second,
against their own inertia, does so less by the first than where $A$ was made."""


def is_tame(frame: Frame) -> Bool[Array, ""]:
    """Whether the dual weights are known from margins that are right to `rtol`."""
    field = frame.field
    if field.duals.linear:
        return jnp.asarray(True)
    scale = field.scale(frame.margins, frame.log_radius)
    scaled = scale * frame.margins
    # By how many nats the weights change with a relative change of the margins.
    slopes, shares = field.flow.loss.weight_slopes(
        scaled.reshape(-1, field.flow.per_sample)
    )
    steep = jnp.maximum(jnp.ravel(slopes) if shares is None else 1.0, 1.0)
    most = jnp.max(jnp.abs(scaled) * steep)
    tame = (most * frame.rtol < SHARP) & (most * EPSILON < DIGITS * frame.rtol)
    # A scale that is capped follows the margins too, and A does not know how.
    return tame & (jnp.log(scale) > field.log_scale(frame.log_radius) - CAPPED)


def may_be_direct(frame: Frame) -> bool:
    """Whether stages may be solved for the weights alone, as far as sizes tell."""
    sizes = frame.dual.size, frame.start.size
    return is_tall(*sizes) and frame.field.euclidean


class Whole(eqx.Module):
    r"""A factored A, and what its margins hold the weights by.

    Attributes:
        scaling: The scales of rows and columns.
        factor: The LU factors; of size zero where no stage is solved for weights alone.
        pivots: Of them.
        follows: How fast what each margin pulls falls with it, $\eta R \Lambda^{-1}
            q_i S_{ii}$.
        stiffness: How stiffly each margin holds the weights with it, against $D$.
    """

    scaling: Float[Array, " weights"]
    factor: Float[Array, "all all"]
    pivots: Int[Array, " all"]
    follows: Float[Array, " some"]
    stiffness: Float[Array, " some"]

    def undo(self, defect: Float[Array, " weights"]) -> Float[Array, " weights"]:
        """$A^{-1}$ times a vector."""
        found = jax.scipy.linalg.lu_solve(
            (self.factor, self.pivots), self.scaling * defect
        )
        return found / self.scaling

    def overstates(self, follows: Float[Array, " some"]) -> Bool[Array, ""]:
        """Whether $A$ is far too stiff where dual weights follow margins so.

        Then what it takes for a small error may be a large one.
        """
        loose = self.follows > LOOSE * follows
        return jnp.any(loose & (self.stiffness > STIFF))


def no_whole(frame: Frame) -> Whole:
    """What stands for it where it is not known."""
    weights, margins = frame.start.size, frame.dual.size
    if not may_be_direct(frame):
        weights = margins = 0
    factor, pivots = jnp.zeros((weights, weights)), jnp.zeros(weights, jnp.int32)
    return Whole(frame.weight, factor, pivots, jnp.zeros(margins), jnp.zeros(margins))


def whole_of(
    frame: Frame,
    rows: Float[Array, "margins weights"],
    point: Float[Array, " weights"],
    margins: Float[Array, " margins"],
    dual: Float[Array, " margins"],
    s: Scalar,
    eta: Scalar,
    scaling: Float[Array, " weights"],
    rest: Float[Array, "weights weights"],
) -> Whole:
    r"""$A$ at a point of a stage, of which $D - \eta\,\partial_x F$ is the rest."""
    log_radius = frame.log_radius_at(s)
    follows, answers = _answering(frame, rows, margins, dual, log_radius)
    rate = eta / jnp.exp(frame.log_speed(point))
    damping = jnp.maximum(jnp.diagonal(rest), 1.0)
    follows = rate * follows
    stiffness = follows * jnp.sum(rows**2 / damping[None], axis=1)
    matrix = (rest + rate * answers) * scaling[:, None] / scaling[None]
    factor, pivots = jax.scipy.linalg.lu_factor(matrix)
    return Whole(scaling, factor, pivots, follows, stiffness)


def follows_of(frame: Frame, margins, dual, log_radius) -> Float[Array, " margins"]:
    """How fast each dual weight falls with its margin, the others at rest."""
    field = frame.field
    if field.duals.linear:
        return jnp.ones_like(dual)
    scale = field.scale(margins, log_radius)
    slopes, _ = field.flow.loss.weight_slopes(
        (scale * margins).reshape(-1, field.flow.per_sample)
    )
    return scale * jnp.where(frame.lost, 0.0, dual) * jnp.ravel(slopes)


def _answering(frame: Frame, rows, margins, dual, log_radius):
    r"""$-\partial_z q$ by margin, and $-J^\top \partial_z q\, J$."""
    field, flow = frame.field, frame.field.flow
    follows = follows_of(frame, margins, dual, log_radius)
    if field.duals.linear:
        return follows, rows.T @ rows
    scale = field.scale(margins, log_radius)
    q = jnp.where(frame.lost, 0.0, dual)
    _, shares = flow.loss.weight_slopes((scale * margins).reshape(-1, flow.per_sample))
    if shares is None:
        weighted = follows[:, None] * rows
    else:
        parts = rows.reshape(-1, flow.per_sample, rows.shape[1])
        parts = parts - jnp.einsum("nk,nkw->nw", shares, parts)[:, None]
        weighted = scale * q[:, None] * parts.reshape(rows.shape)
    # What all dual weights lose alike they do not, their sum being one.
    return follows, rows.T @ weighted - jnp.outer(q @ rows, jnp.sum(weighted, axis=0))
