"""The gates of a curve at some of its times, from the turns that a solve has noted.

A turn is the clock and, packed, the gates from there on. A solve notes them at the ends
of its steps; within a step kinks are passed as well, and there the side of a kink that
is not slid along is that of its function u.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._compile import compiled
from ._field import Field
from ._gates import record
from ._sides import unpacked
from ._steps import Sample


Turns = list[tuple[float, np.ndarray]]
"""The clock where gates changed, and the gates from there on as `packed` has them."""

CLEAR = 1e-9
"""A kink function has a sign if it is above this share of its largest at any sample."""


def gates_at(
    turns: Turns, tau: Float[np.ndarray, " times"], shape: tuple[int, ...]
) -> Bool[np.ndarray, "2 times samples kinks"]:
    """Which gates are on at some times, and which kinks are slid along, as noted."""
    index = np.searchsorted([tau for tau, _ in turns], tau, "right") - 1
    rows = [turns[k][1] for k in np.maximum(index, 0)]
    return unpacked(np.reshape(rows, (len(rows), turns[0][1].size)), shape)


def within_steps(field: Field, samples: Sample, turns: Turns) -> Turns:
    """The turns from one of some samples to the next, which lie within steps."""
    if not turns or len(samples.tau) == 0:
        return turns
    tau, points = np.asarray(samples.tau), np.asarray(samples.point)[:, :-1]
    on, slides = gates_at(turns, tau, field.gates.on.shape)
    on = np.asarray(compiled(_mended)(field, points, on, slides))
    found = np.packbits(np.stack([on, slides], axis=1).reshape(len(tau), -1), axis=1)
    new = np.append(True, np.any(found[1:] != found[:-1], axis=1))
    return [(float(tau[k]), found[k]) for k in np.flatnonzero(new)]


def _mended(
    field: Field,
    points: Float[Array, "times weights"],
    on: Bool[Array, "times samples kinks"],
    slides: Bool[Array, "times samples kinks"],
) -> Bool[Array, "times samples kinks"]:
    """Gates with those turned that are clearly on the wrong side."""
    flow = field.flow

    def one(given):
        point, on, slides = given
        network = field.network(point)

        def each(x, y):
            return record(flow.sample_margins, field.kinks, network, x, y)[1:]

        right, u = jax.vmap(each)(flow.x, flow.y)
        clear = jnp.abs(u) > CLEAR * jnp.max(jnp.abs(u), axis=0, keepdims=True)
        return jnp.where(clear & ~slides, right, on)

    return jax.lax.map(one, (points, on, slides))
