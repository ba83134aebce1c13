r"""How the smoothed margin grows and the direction moves at each sample.

Every term is a sum of positive parts, so that all have digits where the gap
$a - \tilde\gamma$ is far below the rounding of $a$.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64

from .._curve import AbstractCurve
from .._point import Point
from .._polar import LOG_LARGE, Polar


FEWEST = 8  # samples
TINY = 1e-200  # radians: where the direction stands still to the last bit


class Motion(NamedTuple):
    r"""The flow at each sample, from the first with $\alpha > 0$ on.

    Attributes:
        log_radius: $\log r$.
        margin: The smoothed margin $\tilde\gamma$.
        spherical: $Q\,|P_\theta J^\top q|$, what turning adds to
            $\mathrm d \tilde\gamma / \mathrm d \zeta$.
        turning: $|\mathrm d\theta / \mathrm d \log r|$.
        excess: $(B - \alpha) / R$.
    """

    log_radius: Float64[np.ndarray, " times"]
    margin: Float64[np.ndarray, " times"]
    spherical: Float64[np.ndarray, " times"]
    turning: Float64[np.ndarray, " times"]
    excess: Float64[np.ndarray, " times"]

    def radial(self, degree: float) -> Float64[np.ndarray, " times"]:
        r"""What growing adds to $\mathrm d \tilde\gamma / \mathrm d \zeta$."""
        return degree * self.excess / self.turning

    def growth(self, degree: float) -> Float64[np.ndarray, " times"]:
        r"""$\mathrm d \tilde\gamma / \mathrm d \log r$."""
        return degree * self.excess + self.spherical * self.turning


def motion(curve: AbstractCurve) -> tuple[int, Motion]:
    """The first sample with positive smoothed margin, and the motion from there.

    Raises:
        ValueError: If there are not enough samples with positive smoothed margin.
    """
    found = Motion(*(np.asarray(part) for part in curve.map(_moving)))
    bad = ~((found.margin > 0) & (found.turning > 0))
    first = int(np.flatnonzero(bad)[-1]) + 1 if np.any(bad) else 0
    rest = Motion(*(part[first:] for part in found))
    if len(rest.margin) < FEWEST:
        raise ValueError(
            f"`curve` must have {FEWEST} samples at its end with positive "
            f"smoothed margin, but has {len(rest.margin)}. Solve on."
        )
    return first, rest


def _moving(point: Point) -> tuple:
    """The entries of `Motion`."""
    view = Polar(point)
    along, across = view.pull()
    shrink = jnp.exp(-jnp.minimum(view.log_scale, LOG_LARGE))
    turning = jnp.where(along > 0, jnp.maximum(across / along, TINY), jnp.nan)
    return (
        view.log_radius,
        view.smoothed_margin(),
        jnp.exp(view.total_weight()) * jnp.maximum(across, TINY),
        turning,
        jnp.maximum(view.excess(), 0.0) * shrink,
    )
