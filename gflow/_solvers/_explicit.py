"""Explicit Runge-Kutta steps in the frame of a step, and how stiff the flow is there.

Of Tsitouras (2011), "Runge-Kutta pairs of order 5(4) satisfying only the first column
simplifying assumption", with the coefficients of Diffrax. What its last two stages,
both at the end of the step, say of stiffness: Hairer & Wanner (1996), "Solving Ordinary
Differential Equations II", section IV.2.
"""

from typing import NamedTuple

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._coordinates import two_norm
from .._frame import Frame
from .._types import Scalar
from ._interpolation import QUARTERS


_TABLEAU = dfx.Tsit5.tableau
_STAGES = _TABLEAU.num_stages
_LOWER = np.zeros((_STAGES, _STAGES))
for _i, _row in enumerate(_TABLEAU.a_lower):
    _LOWER[_i + 1, : len(_row)] = _row
_NODES = np.append(_TABLEAU.c1, _TABLEAU.c)

THROWN = 1.5
"""The stages of a flow that is not stiff lead hardly anywhere so many times as far away
as its step. Those of one that is held do, to where its slopes may vanish and show no
rate."""


class ExplicitStep(NamedTuple):
    """An explicit step.

    Attributes:
        end: The coordinates at its end.
        quarters: Those at its quarters.
        error: Of its end.
        slope: The velocity of the coordinates there.
        stiffness: The length of the step times the largest rate that its end shows.
        stiffest: The direction that it shows it in.
        returns: Whether its stages lead much farther away than it does.
    """

    end: Float[Array, " weights"]
    quarters: Float[Array, "3 weights"]
    error: Float[Array, " weights"]
    slope: Float[Array, " weights"]
    stiffness: Scalar
    stiffest: Float[Array, " weights"]
    returns: Bool[Array, ""]


def explicit_step(frame: Frame, length: Scalar) -> ExplicitStep:
    """One step of a frame; it begins with the gradient that the frame knows."""
    start = frame.start
    lower, nodes = jnp.asarray(_LOWER), jnp.asarray(_NODES)

    def away(here):
        return two_norm(frame.weight * (here - start))

    def stage(i, carry):
        slopes, last, _, farthest = carry
        here = start + length * (lower[i] @ slopes)
        slope = frame.velocity(nodes[i] * length, here)
        farthest = jnp.maximum(farthest, away(here))
        return slopes.at[i].set(slope), here, last, farthest

    first = (
        jnp.zeros((_STAGES, start.size)).at[0].set(frame.gradient - frame.rate * start)
    )
    # The weights of the last stage are those of the solution.
    carry = (first, start, start, jnp.zeros(()))
    slopes, end, before, farthest = jax.lax.fori_loop(1, _STAGES, stage, carry)
    weight = frame.weight * jnp.exp(-frame.sigma * length)
    change = slopes[-1] - slopes[-2]
    apart = two_norm(weight * (end - before))
    rate = two_norm(weight * change) / jnp.where(apart > 0, apart, jnp.inf)
    inside = dfx.Tsit5.interpolation_cls(
        t0=jnp.zeros(()), t1=length, y0=start, y1=end, k=length * slopes
    )
    quarters = jax.vmap(inside.evaluate)(length * QUARTERS)
    return ExplicitStep(
        end=end + frame.lack_at(length),
        quarters=quarters + jax.vmap(frame.lack_at)(length * QUARTERS),
        error=length * (jnp.asarray(_TABLEAU.b_error) @ slopes),
        slope=slopes[-1],
        stiffness=length * rate,
        stiffest=change,
        returns=farthest > THROWN * away(end),
    )
