"""Margins that count in q: those that some weight moves, and the others if light."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._field import Field
from ._jacobian import Jacobian, by_rows
from ._types import Scalar


LIGHT = 1.0
"""Margins that no weight moves count all the same while their weights are at most this
against those of the others."""


def seen_margins(
    field: Field,
    margins: Float[Array, " margins"],
    jacobian: Jacobian,
    log_radius: Scalar,
    held: Bool[Array, ""] | bool = False,
) -> Bool[Array, " margins"]:
    """The margins that some weight moves; all, if none is or the loss is of errors.

    The others pull at nothing. Once all the weight would be theirs they must not count
    in the normalization of $q$. Before that they do, for a step that sees one of them
    in its midst is not blind to it then; unless walls hold, and what is lost has much
    of the weight without being of any account.

    Args:
        field: The flow.
        margins: Of its samples.
        jacobian: Their derivatives.
        log_radius: Beside the point.
        held: Whether there are walls.
    """
    seen, _ = by_rows(jacobian, lambda rows, _: (jnp.any(rows != 0, axis=1), ()))
    if field.walled:
        dual = field.dual_weights(margins, log_radius, seen, ~seen)
        light = jnp.sum(jnp.where(seen, 0.0, dual)) <= LIGHT
        seen = seen | (light & ~jnp.asarray(held))
    return seen | field.duals.linear | ~jnp.any(seen)


def counted(
    field: Field,
    margins: Float[Array, " margins"],
    jacobian: Jacobian,
    log_radius: Scalar,
    seen: Bool[Array, " margins"],
    dual: Float[Array, " margins"],
    gradient: Float[Array, " weights"],
) -> tuple[Float[Array, " margins"], Float[Array, " weights"]]:
    """Dual weights of what counts now, and the gradient with them; not normalized.

    Those that a step was blind to have none yet. At a kink they have theirs already.
    """
    dual = jnp.where(seen, dual, 0.0)
    if field.kinks.count > 0:
        return dual, gradient
    fresh = seen & (dual <= 0)
    full = field.dual_weights(margins, log_radius, seen & ~fresh, fresh)
    # In proportion to those that are known, whatever the sum of these is.
    total = jnp.where(jnp.any(dual > 0), jnp.sum(dual), 1.0)
    fresh = jnp.where(fresh, total * full, 0.0)
    return dual + fresh, gradient + fresh @ jacobian
