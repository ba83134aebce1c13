r"""What a flow that seems to rest will do: the modes of its motion at one point.

Where nothing moves on a step but what grows in its frame, the error of the step says
nothing of modes that are unstable and too small to be seen, and an implicit step damps
them. So the Jacobian of the motion in the frame is formed, each unit in its own size,
and its eigenvalues say what stands still, what decays, and what grows.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._carry import Carry, Tolerance
from ._compile import compiled
from ._field import Field
from ._frame import make_frame


MOST_WEIGHTS = 600
"""The Jacobian is dense: its eigenvalues take some seconds beyond."""

NOISE = 1e-12
"""Eigenvalues below this share of the pulls in their modes are zero."""

ROUNDING = 1e-15
"""What of the pull of the samples at a unit is rounding."""

ARRIVED = 1e-12
"""The distance to a critical point, in sizes of units, that is none."""

SEEN = 100.0
"""Modes of an amplitude above this times `rtol` are in the error of a step."""

LATEST = 600.0
"""Steps reach every log t up to this at a critical point."""

FOLLOWED = 0.35
"""The length of a step on which an unstable mode is followed, in units of its time, at
a tolerance of 1e-6: its growth by e is then right to about 1e-6."""


class Modes(NamedTuple):
    r"""The motion near a point.

    Attributes:
        rate: Of the fastest unstable mode, against the frame; 0 if there is none.
        amplitude: Of that mode, in sizes of units.
        rounding: Below which its amplitude cannot be known.
        count: How many modes are unstable.
        distance: How far the flow would go if the modes that decay had their time.
        drift: Whether a mode that neither grows nor decays moves all the same.
        growth: The greatest rate of growth of a unit, in the frame.
        smallest: The size of the unit that grows so fast, against the whole.
        resting: The share of the largest gradient, unit by unit, in its pulls.
    """

    rate: float
    amplitude: float
    rounding: float
    count: int
    distance: float
    drift: bool
    growth: float
    smallest: float
    resting: float

    @property
    def resolved(self) -> bool:
        """Whether the amplitude of the fastest unstable mode is above rounding."""
        return self.amplitude > self.rounding

    def hidden(self, rtol: float) -> bool:
        """Whether the error of a step does not see the fastest unstable mode."""
        return self.rate > 0 and self.amplitude < SEEN * rtol

    @property
    def critical(self) -> bool:
        """Whether the point is critical, nothing grows, and there is no way to go."""
        still = self.rate == 0 and self.growth == 0
        return still and self.distance <= ARRIVED and not self.drift

    @property
    def unknowable(self) -> bool:
        """Whether an unstable mode below rounding may escape before a unit does."""
        if self.rate == 0 or self.resolved:
            return False
        if self.growth == 0:
            return True
        earliest = -np.log(max(self.rounding, 1e-300)) / self.rate
        return earliest < -np.log(max(self.smallest, 1e-300)) / self.growth


def modes(field: Field, carry: Carry, tolerance: Tolerance) -> Modes | None:
    """The modes where a loop stopped; `None` if there are too many weights."""
    if carry.point.size > MOST_WEIGHTS:
        return None
    found = compiled(_motion)(field, carry, tolerance)
    matrix, force, pulled, rate, size = (np.asarray(part) for part in found)
    values, right = np.linalg.eig(matrix)
    inverse = np.linalg.pinv(right)
    # What rounding in the rows of the matrix moves an eigenvalue by, to first order.
    doubt = np.sum(np.abs(inverse) * pulled * np.abs(right).T, axis=1)
    noise = NOISE * doubt + 1e-300
    along = inverse @ force
    blur = ROUNDING * np.abs(inverse) @ pulled + 1e-300
    grows, decays = values.real > noise, values.real < -noise
    fastest = int(np.argmax(np.where(grows, values.real, -np.inf)))
    unstable = bool(grows[fastest])
    top = float(values[fastest].real) if unstable else 0.0
    distance = np.linalg.norm(right[:, decays] @ (along[decays] / values[decays]))
    neutral = ~(grows | decays)
    fast_unit = int(np.argmax(rate))
    shares = np.abs(force) / np.maximum(pulled, 1e-300)
    return Modes(
        rate=top,
        amplitude=float(np.abs(along[fastest])) / top if unstable else 0.0,
        rounding=float(blur[fastest]) / top if unstable else 0.0,
        count=int(np.sum(grows)),
        distance=float(distance) / np.sqrt(len(force)),
        drift=bool(np.any(np.abs(along[neutral]) > 100 * blur[neutral])),
        growth=float(rate[fast_unit]),
        smallest=float(size[fast_unit]),
        resting=float(np.max(shares, initial=0.0)),
    )


def _motion(field: Field, carry: Carry, tolerance: Tolerance):
    """The Jacobian of the motion in the frame, and the motion, in sizes of units."""
    frame = make_frame(
        field, carry.point, carry.log_radius, carry.dual, carry.gradient,
        jnp.zeros(()), tolerance.rtol,
    )  # fmt: skip
    frame = eqx.tree_at(lambda f: f.rest, frame, jnp.zeros_like(frame.rest))

    def motion(relative):
        point = frame.size * relative
        margins = field.margins(point)
        dual = frame.dual_weights(margins, jnp.zeros(()))
        _, gradient = frame.negative_gradient(point, dual)
        return (gradient - frame.rate * point) / frame.size

    relative = frame.start / frame.size
    matrix = jax.jacfwd(motion)(relative)
    force = (carry.gradient - frame.rate * frame.start) / frame.size
    whole = jnp.sqrt(jnp.sum(frame.start**2))
    return matrix, force, frame.pulled / frame.size, frame.rate, frame.size / whole


def in_words(found: Modes) -> str:
    """What was measured."""
    facts = [f"gradient at most {found.resting:.1e} of the pulls of the samples"]
    facts.append(f"distance to rest {found.distance:.1e}")
    if found.rate > 0:
        facts.append(
            f"{found.count} unstable modes, the fastest of rate {found.rate:.4g} in "
            f"the clock of the step, amplitude {found.amplitude:.1e}, known to "
            f"{found.rounding:.1e}"
        )
    else:
        facts.append("no unstable mode")
    if found.growth > 0:
        facts.append(
            f"a unit of size {found.smallest:.1e} grows at rate {found.growth:.4g}"
        )
    return f"Measured: {'; '.join(facts)}."


def follow(found: Modes, rtol: float) -> tuple[float, float]:
    """The longest step that follows a hidden mode, and the way until it is seen."""
    longest = FOLLOWED * min(1.0, (rtol / 1e-6) ** 0.2) / found.rate
    return longest, np.log(SEEN * rtol / found.amplitude) / found.rate
