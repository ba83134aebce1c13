"""Margins that some weight moves: the others pull at nothing, and do not count in q."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._field import Field
from ._jacobian import Jacobian, by_rows
from ._types import Scalar


def seen_margins(field: Field, jacobian: Jacobian) -> Bool[Array, " margins"]:
    """The margins that some weight moves; all, if none is or the loss is of errors.

    The others pull at nothing, and must not count in the normalization of $q$.
    """
    seen, _ = by_rows(jacobian, lambda rows, _: (jnp.any(rows != 0, axis=1), ()))
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
