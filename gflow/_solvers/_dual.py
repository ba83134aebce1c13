r"""The dual weights of an implicit stage whose margins are linear in them.

Find $q$ on the simplex with $\log q + c = \log g(R (b + \eta K q))$: for the
exponential loss, the optimality condition of $\min_q \tfrac12 \eta R\, q^\top K q
+ R \langle b, q\rangle + \sum q \log q$. It is mild however large $R$ is, where the
same equation in the network's weights is hopeless. Under the square loss it is linear.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._field import Field
from .._flow import AbstractFlow
from .._types import Scalar
from ._careful import LEAST_LEFT
from ._equation import goal_of
from ._gram import AbstractGram, solve_sum
from ._own_law import FLOOR
from ._weights import solve_weights


WEIGHT_DROP = 1e-2
"""A predicted weight is at least this much of the last: an extrapolation may go below
zero. Found by trial on toy problems; 1e-1 and 1e-3 do as well."""


def predict_weights(
    free: bool,
    predicted: Float[Array, " m"],
    last: Float[Array, " m"],
    lost: Bool[Array, " m"],
) -> Float[Array, " m"]:
    """An extrapolation of dual weights, made admissible."""
    if free:
        return predicted
    positive = jnp.maximum(predicted, WEIGHT_DROP * last)
    return positive / jnp.sum(jnp.where(lost, 0.0, positive))


def stage_weights(
    field: Field,
    weights: Float[Array, " m"],
    shift: Float[Array, " m"],
    gram: AbstractGram,
    flat: Bool[Array, ""],
    scale: Scalar,
    seen: Bool[Array, " m"],
    eta: Scalar,
    tolerance: Scalar,
    answer: Float[Array, " weights"],
) -> tuple[Float[Array, " m"], Float[Array, " weights"], Scalar]:
    r"""The dual weights of a stage, whatever its matrix $K$, and what answers to them.

    Where $K$ is that of a flat model, or positive all the same, by `solve_weights`;
    else by one step of Newton's method, damped.

    Args:
        field: Gives $\log g$ and its slopes.
        weights: The guess.
        shift: The vector $b$.
        gram: The matrix $K$.
        flat: Whether $K$ is known to be symmetric and positive.
        scale: The scale $R$ of the margins.
        seen: The margins that count.
        eta: The length of the stage.
        tolerance: The error at which to stop.
        answer: A guess of $A^{-1} J^\top q$.

    Returns:
        The weights $q$, $A^{-1} J^\top q$, and the error that is left; 0 if not known.
    """
    none = jnp.zeros(())
    if field.duals.linear:
        found = gram.resolve(eta, -shift)
        return found, gram.answer(found), none
    flow = field.flow
    half, lower = gram.positive(flat)
    # The part of K that is not symmetric is corrected by the outer iteration.
    tilted = shift + eta * gram.tilt(half, weights)

    expected = gram.motion_to(half, weights, answer)

    def linear():
        found = linear_weights(flow, weights, shift, gram, scale, seen, eta)
        return found, gram.answer(found), none

    found, motion, error = jax.lax.cond(
        jnp.isfinite(lower),
        lambda: solve_weights(
            flow, weights, tilted, half, scale, seen, eta, tolerance, expected
        ),
        lambda: (weights * jnp.nan, expected, none),
    )
    # K may be positive but for its rounding, which a large scale magnifies.
    return jax.lax.cond(
        jnp.isfinite(jnp.sum(found)),
        lambda: (found, gram.answer_to(half, found, motion), error),
        linear,
    )


def linear_weights(
    flow: AbstractFlow,
    weights: Float[Array, " m"],
    shift: Float[Array, " m"],
    gram: AbstractGram,
    scale: Scalar,
    seen: Bool[Array, " m"],
    eta: Scalar,
) -> Float[Array, " m"]:
    """One step of Newton's method for the dual weights, for any matrix $K$."""
    m = weights.shape[0]
    q = jnp.where(seen, jnp.maximum(weights, FLOOR), FLOOR)
    image = gram.times(q)
    margins = scale * (shift + eta * image)
    residual = jnp.where(seen, jnp.log(q) - goal_of(flow, margins, seen), 0.0)
    slopes, shares = flow.loss.weight_slopes(margins.reshape(-1, flow.per_sample))

    def steep(columns):
        if shares is None:
            return jnp.ravel(slopes)[:, None] * columns
        parts = columns.reshape(-1, flow.per_sample, columns.shape[1])
        parts = parts - jnp.einsum("nk,nkm->nm", shares, parts)[:, None]
        return parts.reshape(m, -1)

    # What all weights do to a margin alike changes nothing, their sum being one; and
    # far out it is so large that the rest would be lost beside it.
    columns, rows = gram.without(image / jnp.sum(q))
    columns = eta * scale * q[:, None] * steep(columns)
    both = jnp.stack([-q * residual, q], axis=1)
    change, along = solve_sum(columns, rows, both).T
    # Of all solutions, the one whose weights sum to one.
    change = change + along * (1 - jnp.sum(q) - jnp.sum(change)) / jnp.sum(along)
    new = jnp.where(seen, jnp.maximum(q + change, LEAST_LEFT * q), FLOOR)
    return new / jnp.sum(new)
