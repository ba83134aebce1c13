"""Margins that some weight moves: the others pull at nothing, and do not count in q."""

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
) -> Bool[Array, " margins"]:
    """The margins that some weight moves; all, if none is or the loss is of errors.

    The others pull at nothing. Once all the weight would be theirs they must not count
    in the normalization of $q$. Before that they do: a step that sees one of them in
    its midst is not blind to it then.
    """
    seen, _ = by_rows(jacobian, lambda rows, _: (jnp.any(rows != 0, axis=1), ()))
    if field.walled and field.kinks.count == 0:
        dual = field.dual_weights(margins, log_radius, seen, ~seen)
        seen = seen | (jnp.sum(jnp.where(seen, 0.0, dual)) <= LIGHT)
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
    """Dual weights of what is seen now, and the gradient with them; not normalized.

    Those that a step was blind to have none yet. At a kink they have theirs already.
    """
    dual = jnp.where(seen, dual, 0.0)
    if field.kinks.count > 0:
        return dual, gradient
    fresh = seen & (dual <= 0)
    full = field.dual_weights(margins, log_radius, seen & ~fresh, fresh)
    fresh = jnp.where(fresh, full, 0.0)
    return dual + fresh, gradient + fresh @ jacobian
