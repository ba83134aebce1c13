"""Whether dual weights and losses of a curve are those of its margins."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._dual_kinds import LEAST_LOSS
from .._trajectory import Trajectory
from ._report import require_all, require_close
from ._stacks import sample


KNOWN = 1e3
"""Up to this R the dual weights follow from the margins."""


def check_dual_weights(
    curve: Trajectory,
    margins: Float[np.ndarray, "times margins"],
    scale: Float[np.ndarray, " times"],
    room: float,
) -> None:
    """A point of the simplex, and that of the margins; or minus the errors."""
    q = np.asarray(curve.weights)
    if curve.flow.kind == "targets":
        law = "`curve.weights` must be minus the errors, under the square loss"
        size = 1 + np.max(np.abs(np.asarray(curve.flow.y))) + np.max(np.abs(margins))
        require_close(q, -margins, room * size, law, sample)
        return
    law = "`curve.weights` must not be negative"
    require_all(q >= 0, law, lambda at: f"is {q[at]:.6g} at sample {at[0]}")
    law = "`curve.weights` must sum to one"
    require_close(q.sum(axis=1), np.ones(len(q)), 1e-12, law, sample)
    known = scale <= KNOWN
    # Samples that no unit sees pull nothing, and have no dual weight.
    logs = jax.vmap(curve.flow.log_weights)(jnp.asarray(margins[known]))
    given = q[known]
    blind = curve.field.walled or curve.field.kinks.count > 0
    seen = (given > 0) if blind else np.ones(given.shape, bool)
    expected = np.asarray(jax.nn.softmax(jnp.where(seen, logs, -jnp.inf), axis=1))
    law = "`curve.weights` must be those of the margins, softmax(log g(z))"
    at = np.flatnonzero(known)
    require_close(
        given,
        expected,
        room * scale[known][:, None],
        law,
        lambda index: f"at sample {at[index[0]]}",
    )


def check_log_loss(
    curve: Trajectory,
    margins: Float[np.ndarray, "times margins"],
    scale: Float[np.ndarray, " times"],
    room: float,
) -> None:
    """The loss is that of the margins, as long as these are finite."""
    known = np.isfinite(scale) & (scale < 1e290)
    flow, at = curve.flow, np.flatnonzero(known)
    each = np.asarray(jax.vmap(flow.log_losses)(jnp.asarray(margins[known])))
    expected = np.logaddexp.reduce(each, axis=1) - np.log(flow.samples)
    allowed = room * scale[known]
    if flow.kind == "targets":
        expected = np.maximum(expected, LEAST_LOSS)
        # Where the errors are rounding, so is the loss.
        noise = np.max(np.abs(np.asarray(flow.y)))
        allowed = allowed + room * noise / np.exp(np.maximum(expected, -1400.0) / 2)
    law = "`curve.log_loss` must be that of the margins"
    require_close(
        np.asarray(curve.log_loss)[known],
        expected,
        allowed,
        law,
        lambda index: f"at sample {at[index[0]]}",
    )
