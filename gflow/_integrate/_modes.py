"""What is known of a flow near rest, and what follows from it."""

from typing import NamedTuple

import numpy as np


ARRIVED = 1e-3
"""The distance to a critical point, in sizes of units, that is none, times `rtol`: with
no mode that grows or drifts, the flow goes there and stays."""

SEEN = 100.0
"""Modes of an amplitude above this times `rtol` are in the error of a step."""

CLEAR = 10.0
"""Modes so much larger than what is lost are known."""

ALIKE = 0.5
"""A mode is one that was lost if so much of it is in their span."""

LEAP = 0.03
"""How far small units may grow on the first step after all others came to rest: it is
solved as any, and only its length is guessed from their rate."""

LATEST = 600.0
"""Steps reach every log t up to this at a critical point."""

FOLLOWED = 0.35
"""The length of a step on which an unstable mode is followed, in units of its time, at
a tolerance of 1e-6: its growth by e is then right to about 1e-6."""


SETTLED = 1e-3
"""A flow that will still go further than this, in sizes of units, is not at rest: modes
that steps are short enough to follow may be stable where it comes to rest."""


class Modes(NamedTuple):
    r"""The motion near a point.

    Attributes:
        rate: Of the fastest unstable mode, against the frame; 0 if there is none.
        amplitude: Of that mode, in sizes of units.
        rounding: Below which its amplitude cannot be known.
        extent: Its size against the whole network, at amplitude one.
        growth_of_mode: Its rate in weights; less than `rate` where its unit shrinks.
        vector: Of that mode, in weights, of norm one.
        fading: The modes that grow, but less than the units that they are in, and have
            fallen behind them below the tolerance: in weights, one a column.
        fades_in: How soon the next one will.
        count: How many modes are unstable.
        distance: How far the flow would go if the modes that decay had their time.
        drift: How fast modes that neither grow nor decay move all the same, in sizes of
            units.
        moves: Whether a unit that is not small grows.
        growth: The greatest rate of growth of a small unit, in the frame.
        smallest: The size of the unit that grows so fast, against the whole.
        change: How soon a unit grows to the whole, or by a factor e, and all this is
            past.
        resting: The share of the largest gradient, unit by unit, in its pulls,
        calmest: and of the smallest, of units that are not small.
        faint: How many margins pull at some unit by less than what rest leaves.
        astray: How fast these move what nothing holds, in sizes of units.
        faints_at: By what factor steps may lengthen before a margin is as faint, if its
            pull falls like 1 / t; one if it is.
    """

    rate: float
    amplitude: float
    rounding: float
    extent: float
    growth_of_mode: float
    vector: np.ndarray
    fading: np.ndarray
    fades_in: float
    count: int
    distance: float
    drift: float
    moves: bool
    growth: float
    smallest: float
    change: float
    resting: float
    calmest: float
    faint: int
    astray: float
    faints_at: float

    def known(self, lost: np.ndarray, rtol: float) -> bool:
        """Whether the amplitude of the fastest unstable mode is a known one.

        What was lost was small: of a mode that is large now it can be no great part.
        """
        if self.amplitude > CLEAR * SEEN * rtol:
            return True
        among = lost.T @ self.vector if lost.size else np.zeros(1)
        apart = bool(np.linalg.norm(among) < ALIKE)
        return self.amplitude > self.rounding and apart

    def looks_again(self, lost: np.ndarray, rtol: float) -> float:
        """How soon it must be looked again: another mode fades, or all has changed."""
        doubtful = self.rate > 0 and not self.known(lost, rtol)
        return min(self.fades_in, self.change) if doubtful else self.fades_in

    def unknown(self, lost: np.ndarray, rtol: float) -> np.ndarray:
        """The modes whose amplitudes are lost here, one a column."""
        if self.rate == 0 or self.known(lost, rtol):
            return self.fading
        return np.concatenate([self.fading, self.vector[:, None]], axis=1)

    def hidden(self, rtol: float) -> bool:
        """Whether the error of a step does not see the fastest unstable mode."""
        return self.rate > 0 and self.amplitude < SEEN * rtol

    def early(self, length: float) -> bool:
        """Whether the flow still moves, and steps of this length follow all modes."""
        return self.distance > SETTLED and length * self.rate < FOLLOWED

    def critical(self, rtol: float) -> bool:
        """Whether the point is critical, nothing grows, and there is no way to go."""
        still = self.rate == 0 and self.growth == 0 and not self.moves
        return still and self.distance <= ARRIVED * rtol and self.drift == 0

    @property
    def leap(self) -> float:
        """A step over which nothing happens but that what grows does so a little."""
        fastest = max(self.rate, self.growth, self.drift)
        still = fastest > 0 and not self.moves
        return min(LEAP / fastest, self.fades_in) if still else 0.0

    def unknown_in(self, lost: np.ndarray, faded: bool, rtol: float) -> float:
        """How soon an unstable mode that is not known may count; never if a unit does.

        Args:
            lost: The modes whose amplitudes are not known.
            faded: Whether some fell below the tolerance: they may be as large as that.
            rtol: What a mode may grow to and still count for nothing.
        """
        if self.rate == 0 or self.known(lost, rtol):
            return np.inf
        # In weights: a mode of a unit that is small itself has as far to go.
        largest = max(self.amplitude, self.rounding) * self.extent
        earliest = -np.log(max(largest, 1e-300)) / max(self.growth_of_mode, 1e-300)
        if earliest >= self.change:
            return np.inf
        most = np.log(max(self.amplitude, self.rounding, 1e-300))
        return 0.0 if faded else max(np.log(rtol) - most, 0.0) / self.rate

    def in_words(self) -> str:
        """What was measured."""
        facts = [f"gradient at most {self.resting:.1e} of the pulls of the samples"]
        facts.append(f"distance to rest {self.distance:.1e}")
        if self.rate > 0:
            facts.append(
                f"{self.count} unstable modes, the fastest of rate {self.rate:.4g} in "
                f"the clock of the step, amplitude {self.amplitude:.1e}, known to "
                f"{self.rounding:.1e}"
            )
        else:
            facts.append("no unstable mode")
        if self.growth > 0:
            facts.append(
                f"a unit of size {self.smallest:.1e} grows at rate {self.growth:.4g}"
            )
        if self.astray > 0:
            facts.append(
                f"{self.faint} margins pull by less than rounding leaves, and yet move "
                f"weights that the others do not hold, at rate {self.astray:.1e}"
            )
        return f"Measured: {'; '.join(facts)}."

    def follow(self, rtol: float) -> tuple[float, float]:
        """The longest step that follows a hidden mode, and the way until it is seen."""
        longest = FOLLOWED * min(1.0, (rtol / 1e-6) ** 0.2) / self.rate
        amplitude = max(self.amplitude, self.rounding)
        return longest, max(np.log(SEEN * rtol / amplitude), 1.0) / self.rate
