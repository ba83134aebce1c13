r"""Steps across kinks: what an attempt's stages tell of a jump in the velocity.

At a kink of a nearly piecewise linear network the velocity jumps, and the error of a
step falls only like its length: a controller that counts on order five tries again and
again. But the slopes of the stages show between which of them the jump lies (a parabola
and a jump fit them), and an error weight is known for each place. So the next step ends
before the kink, and the one after crosses it with the kink in its first part, where the
stages miss least of it.
"""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._types import Scalar


CLEARER = 0.65
LARGEST = 0.5
"""A jump is believed if it leaves this share of what a jump leaves of any power up to
the fifth, and at most this share of the misfit of a parabola."""

AIM = 0.8
"""The error aimed at where the error is known to fall like the length."""

LINEAR = 1.5
"""The order below which an error counts as falling like the length."""

MARGIN = 0.98
"""How close to a kink the last stage of a step may come."""

SHRINK, REGROW = 0.4, 2.0
"""The factors after a failed stage, and at most after the success that follows. Found
by trial on a two-layer ReLU network, as are all numbers above."""


@dataclasses.dataclass(frozen=True)
class KinkTable:
    """Where the stages of a method lie, and how they see a jump in each gap.

    Attributes:
        edges: The distinct stage times, as fractions of a step.
        smooth: Projector onto what no parabola explains, (stages, stages).
        jumping: The same with a jump in each gap, (gaps, stages, stages).
        believed: The share of misfit below which a jump is believed, one a gap.
        weights: The error of a unit jump in each gap.
    """

    edges: np.ndarray
    smooth: np.ndarray
    jumping: np.ndarray
    believed: np.ndarray
    weights: np.ndarray


def kink_table(nodes: np.ndarray, error: np.ndarray) -> KinkTable | None:
    """The table of a method with these stage times and error weights.

    `None` if it has too few stages to tell a jump from a curve.
    """
    edges = np.unique(np.round(nodes, 9))
    if edges.size < 6:
        return None
    gaps = (edges[1:] + edges[:-1]) / 2
    parabola = np.stack([nodes**0, nodes, nodes**2], axis=1)
    smooth = _complement(parabola)
    after = nodes > gaps[:, None]
    jumping = np.stack([_complement(np.c_[parabola, jump]) for jump in after])
    powers = np.stack([nodes**3, nodes**4, nodes**5], axis=1)
    left = np.linalg.norm(jumping @ powers, axis=1)
    share = np.min(left / np.linalg.norm(smooth @ powers, axis=0), axis=1)
    believed = np.minimum(LARGEST, CLEARER * share)
    return KinkTable(edges, smooth, jumping, believed, np.abs(after @ error))


def _complement(columns: np.ndarray) -> np.ndarray:
    basis, _ = np.linalg.qr(columns)
    return np.eye(len(columns)) - basis @ basis.T


class KinkAhead(eqx.Module):
    """What the attempts so far have told of the way ahead.

    Attributes:
        low: A kink lies at least so far ahead,
        high: and at most so far; not positive if none is known.
        jump: Its jump: error over length and error weight.
        failed: Whether the last attempt had a failed stage.
        length: The length of the last attempt if it was rejected, else infinite.
        error: Its error.
    """

    low: Scalar
    high: Scalar
    jump: Scalar
    failed: Bool[Array, ""]
    length: Scalar
    error: Scalar


def no_kink() -> KinkAhead:
    """Nothing is known."""
    far = jnp.full((), jnp.inf)
    return KinkAhead(-far, -far, far, jnp.zeros((), bool), far, far)


def next_length(
    table: KinkTable | None,
    kink: KinkAhead,
    kept: Bool[Array, ""],
    length: Scalar,
    proposed: Scalar,
    growth: float,
    error: Scalar,
    slopes: Float[Array, "stages state"],
) -> tuple[Scalar, KinkAhead]:
    """The length of the next attempt, and what is known after this one.

    Args:
        table: Of the method; `None` if kinks cannot be located.
        kink: What was known before this attempt.
        kept: Whether the controller accepts it.
        length: Its length.
        proposed: The next length that the controller proposes.
        growth: The largest factor from one step to the next.
        error: Its error in units of the tolerance; infinite if a stage failed.
        slopes: The velocities of its stages, in any unit.
    """
    failed = ~jnp.isfinite(error)
    # Between two rejected attempts the error fell hardly faster than the length.
    linear = jnp.log(kink.error / error) < LINEAR * jnp.log(kink.length / length)
    linear &= jnp.isfinite(kink.length) & jnp.isfinite(kink.error)
    observed = jnp.where(linear, jnp.clip(AIM / error, 0.1, 0.9) * length, proposed)
    rejected = jnp.where(failed, SHRINK * length, observed)
    most = jnp.where(kink.failed, REGROW, growth) * length
    fallback = jnp.where(kept, jnp.minimum(proposed, most), rejected)
    if table is None:
        known, planned = jnp.zeros((), bool), fallback
        low, high, jump = kink.low, kink.high, kink.jump
    else:
        fresh = _locate(table, length, error, slopes)
        passed = (kink.high - length, jnp.maximum(kink.low - length, 0.0), kink.jump)
        high, low, jump = (
            jnp.where(kept, a, b) for a, b in zip(passed, fresh, strict=True)
        )
        known = (high > 0) & ~failed
        # Crossed with the kink in the gap of the first stages, at an error of `AIM`.
        top = jnp.where(kept, jnp.minimum(proposed, growth * length), 0.9 * length)
        passable = AIM / jnp.maximum(jump * table.weights[0], 1e-300)
        across = high / (0.95 * table.edges[1])
        before = MARGIN * low / table.edges[-1]
        crossing = jnp.minimum(passable, top)
        stop = ~kept & (across > crossing)
        stop &= before > 0.2 * jnp.minimum(passable, length)
        planned = jnp.clip(jnp.where(stop, before, crossing), 0.1 * length, top)
        planned = jnp.where(kept, jnp.minimum(planned, most), planned)
    new = KinkAhead(
        low=jnp.where(high > 0, low, -jnp.inf),
        high=jnp.where(high > 0, high, -jnp.inf),
        jump=jump,
        failed=~kept & failed,
        length=jnp.where(kept, jnp.inf, length),
        error=error,
    )
    return jnp.where(known, planned, fallback), new


def _locate(table: KinkTable, length, error, slopes):
    """The latest and earliest place of a jump within this attempt, and its size."""
    misfit = jnp.linalg.norm(table.smooth @ slopes)
    left = jnp.sqrt(jnp.sum((table.jumping @ slopes) ** 2, axis=(1, 2)))
    gap = jnp.argmin(left)
    believed = (left[gap] < jnp.asarray(table.believed)[gap] * misfit) & (error > 1)
    believed &= jnp.isfinite(error)
    edges = jnp.asarray(table.edges)
    high = jnp.where(believed, edges[gap + 1] * length, -jnp.inf)
    return high, edges[gap] * length, error / (jnp.asarray(table.weights)[gap] * length)
