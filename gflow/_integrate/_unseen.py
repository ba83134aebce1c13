"""What a step misses of samples that no weight moved at its start, and that are heavy.

They pull at nothing and do not count in the dual weights, all along the step. A squared
ReLU that turns on in its midst sees one again: no stage knows, and no error estimate.
A visit between two sixths of the step is not noticed.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._frame import Frame
from .._steps import FRACTIONS, QUARTERS


SHARES = np.array([0.25, 0.25, 0.25, 0.125])
"""Of the pull at each quarter, in what it has done by the end: trapezoids, which take
too much for a pull that begins between two of them."""


def unseen(
    frame: Frame,
    length,
    coordinates: Float[Array, "9 weights"],
    margins: Float[Array, "7 margins"],
    known: Bool[Array, " margins"],
) -> Float[Array, " weights"]:
    """What samples not seen at the start would have added to the coordinates.

    Args:
        frame: Of the step.
        length: Of it.
        coordinates: At the `FRACTIONS`.
        margins: At its sixths.
        known: Margins that walls stand for.
    """
    field = frame.field
    blind = ~frame.sighted & ~known
    if field.duals.linear or field.kinks.count > 0:
        return jnp.zeros_like(frame.start)

    def pull(share, coordinates):
        s = share * length
        point = frame.point(s, coordinates)
        margins = field.margins(point)
        log_radius = frame.log_radius_at(s)
        dual = field.dual_weights(margins, log_radius, frame.seen, blind)
        _, motion = frame.negative_gradient(s, point, jnp.where(blind, dual, 0.0))
        return jnp.exp(-frame.sigma * s) * motion

    def some():
        quarters = jnp.asarray(FRACTIONS[QUARTERS[1:]])
        pulls = jax.lax.map(lambda at: pull(*at), (quarters, coordinates[QUARTERS[1:]]))
        return length * jnp.asarray(SHARES) @ pulls

    turned_on = blind & jnp.any(margins != frame.margins[None], axis=0)
    return jax.lax.cond(jnp.any(turned_on), some, lambda: jnp.zeros_like(frame.start))
