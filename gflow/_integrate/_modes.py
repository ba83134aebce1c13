"""What is known of a flow near rest, and what follows from it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float


ARRIVED = 1e-3
"""The distance to a critical point, in sizes of units, that is none, times `rtol`: with
no mode that grows or drifts, the flow goes there and stays."""

SEEN = 100.0
"""Modes of an amplitude above this times `rtol` are in the error of a step."""

NEW = 1e-3
"""A mode adds to the span of those that have grown if so much of it is not in it."""

ALIKE = 0.5
"""A mode may be one that has grown if so much of it is in their span."""

OFTEN = 0.25
"""Steps of this share of the way until a mode that is not known may be seen."""

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


class Lost(NamedTuple):
    """What is known of modes whose amplitudes are not.

    Attributes:
        faded: Whether some fell below the tolerance: they may be as large as that.
        grown: The span of those that were seen to grow since, one a column.
    """

    faded: bool = False
    grown: Float[np.ndarray, "weights modes"] = np.zeros((0, 0))

    def has(self, vectors: Float[np.ndarray, "weights modes"]) -> np.ndarray:
        """Which modes, of norm one, may be one that has grown."""
        if not self.grown.size:
            return np.zeros(vectors.shape[1], bool)
        return np.linalg.norm(self.grown.T @ vectors, axis=0) >= ALIKE

    def and_of(self, found: "Modes", rtol: float) -> "Lost":
        """What is so from now on."""
        faded = self.faded or found.fades
        if found.rate == 0 and found.distance <= SETTLED:
            return Lost(faded)  # all that was lost decays, and is small
        doubtful = found.hidden(rtol) and not found.known(self, rtol)[0]
        more = found.growing.vectors[:, : int(doubtful)]
        both = np.concatenate([self.grown.reshape(len(more), -1), more], axis=1)
        basis, sizes, _ = np.linalg.svd(both, full_matrices=False)
        return Lost(faded, basis[:, sizes > NEW])


NOTHING_LOST = Lost()


class Growing(NamedTuple):
    """The modes that grow against the frame, the fastest first.

    Attributes:
        rates: In the clock of the step.
        amplitudes: In sizes of units.
        roundings: Below which amplitudes cannot be known.
        extents: Their sizes against the whole network, at amplitude one.
        in_weights: Their rates in weights; less where their unit shrinks.
        vectors: In weights, of norm one, one a column.
    """

    rates: Float[np.ndarray, " modes"]
    amplitudes: Float[np.ndarray, " modes"]
    roundings: Float[np.ndarray, " modes"]
    extents: Float[np.ndarray, " modes"]
    in_weights: Float[np.ndarray, " modes"]
    vectors: Float[np.ndarray, "weights modes"]


class Modes(NamedTuple):
    r"""The motion near a point.

    Attributes:
        every: Whether all modes were found. Else the fastest one was, in each group of
            units of like size; `distance` is about right, and `drift` is not known.
        growing: The unstable modes.
        fades: Whether modes that grow, but less than the units that they are in, have
            fallen behind them below the tolerance.
        fades_in: How soon the next one will.
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
        astray: How fast these move what nothing holds, in sizes of units; NaN if that
            is not known.
        faints_at: By what factor steps may lengthen before a margin is as faint, if its
            pull falls like 1 / t; one if it is.
    """

    every: bool
    growing: Growing
    fades: bool
    fades_in: float
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

    @property
    def rate(self) -> float:
        """Of the fastest unstable mode, against the frame; 0 if there is none."""
        return float(np.max(self.growing.rates, initial=0.0))

    def known(self, lost: Lost, rtol: float) -> Bool[np.ndarray, " modes"]:
        """Which of the growing modes have amplitudes that are known.

        What was lost was small: of one that is seen it is no great part, unless it has
        grown since.
        """
        amplitudes = self.growing.amplitudes
        if lost.faded or not self.every:
            return (amplitudes >= SEEN * rtol) & ~lost.has(self.growing.vectors)
        return amplitudes > self.growing.roundings

    def looks_again(self, lost: Lost, rtol: float) -> tuple[float, float]:
        """How soon it must be looked again, and how long steps may be until then.

        Another mode fades, all has changed, or one that is not known may be seen.
        """
        doubtful = ~self.known(lost, rtol)
        if not np.any(doubtful):
            return self.fades_in, np.inf
        seen = np.log(SEEN * rtol / self._largest[doubtful])
        seen = np.min(np.maximum(seen, 1.0) / self.growing.rates[doubtful])
        return min(self.fades_in, self.change, seen), OFTEN * seen

    @property
    def _largest(self) -> Float[np.ndarray, " modes"]:
        """What amplitudes are at most."""
        most = np.maximum(self.growing.amplitudes, self.growing.roundings)
        return np.maximum(most, 1e-300)

    def hidden(self, rtol: float) -> bool:
        """Whether the error of a step does not see the fastest unstable mode."""
        return self.rate > 0 and self.growing.amplitudes[0] < SEEN * rtol

    def early(self, length: float) -> bool:
        """Whether the flow still moves, and steps of this length follow all modes."""
        return self.distance > SETTLED and length * self.rate < FOLLOWED

    def shows(self, lost: Lost, rtol: float) -> bool:
        """Whether a mode that was lost has grown until it is seen."""
        seen = self.growing.amplitudes >= SEEN * rtol
        return bool(np.any(seen & lost.has(self.growing.vectors)))

    def critical(self, rtol: float) -> bool:
        """Whether the point is critical, nothing grows, and there is no way to go."""
        arrived = self.distance <= ARRIVED * rtol and self.drift == 0
        return self.every and self.calm and arrived

    @property
    def calm(self) -> bool:
        """Whether nothing is known to grow."""
        return self.rate == 0 and self.growth == 0 and not self.moves

    @property
    def leap(self) -> float:
        """A step over which nothing happens but that what grows does so a little."""
        fastest = max(self.rate, self.growth, self.drift)
        still = fastest > 0 and not self.moves
        return min(LEAP / fastest, self.fades_in) if still else 0.0

    def unknown_in(self, lost: Lost, rtol: float) -> float:
        """How soon an unstable mode that is not known may count.

        Never if a unit does before, and then it is looked again.

        Args:
            lost: The modes whose amplitudes are not known.
            rtol: What a mode may grow to and still count for nothing.
        """
        grown, most = self.growing, self._largest
        # In weights: a mode of a unit that is small itself has as far to go.
        earliest = -np.log(np.maximum(most * grown.extents, 1e-300))
        earliest /= np.maximum(grown.in_weights, 1e-300)
        later = (earliest >= self.change) & (grown.amplitudes < SEEN * rtol)
        soon = np.maximum(np.log(rtol / most), 0.0) / grown.rates
        if lost.faded or not self.every:
            soon = np.zeros_like(soon)
        soon = np.where(self.known(lost, rtol) | later, np.inf, soon)
        return float(np.min(soon, initial=np.inf))

    def in_words(self, lost: Lost, rtol: float) -> str:
        """What was measured, and of modes that are lost."""
        facts = [f"gradient at most {self.resting:.1e} of the pulls of the samples"]
        facts.append(f"distance to rest {self.distance:.1e}")
        if self.rate > 0:
            number = str(len(self.growing.rates)) if self.every else "some"
            facts.append(f"{number} unstable modes, the fastest {self._facts(0)}")
            doubtful = np.flatnonzero(~self.known(lost, rtol))
            if doubtful.size:
                fastest = int(doubtful[0])
                which = self._facts(fastest) if fastest else "the fastest of all"
                facts.append(f"{doubtful.size} of them not known, first {which}")
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

    def _facts(self, k: int) -> str:
        """What is known of one growing mode."""
        rate, amplitude, rounding, *_ = (each[..., k] for each in self.growing)
        return (
            f"of rate {rate:.4g} in the clock of the step, amplitude {amplitude:.1e}, "
            f"rounding {rounding:.1e}"
        )

    def follow(self, rtol: float) -> tuple[float, float]:
        """The longest step that follows a hidden mode, and the way until it is seen."""
        longest = FOLLOWED * min(1.0, (rtol / 1e-6) ** 0.2) / self.rate
        way = max(np.log(SEEN * rtol / self._largest[0]), 1.0) / self.rate
        return longest, float(way)
