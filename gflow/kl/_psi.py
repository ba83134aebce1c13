"""The desingularizing function as a concave curve."""

import dataclasses

import numpy as np
from jaxtyping import ArrayLike, Float64


@dataclasses.dataclass(frozen=True)
class Psi:
    r"""A concave increasing function $\Psi$ with $\Psi(0) = 0$.

    Below the first gap it is a power law, between gaps $\Psi'$ is linear, and past the
    last it is constant.

    Attributes:
        gap: Increasing positive numbers.
        value: $\Psi$ there.
        slope: $\Psi'$ there; not increasing.
        power: Of the power law below the first gap.

    Example:
        `gflow.kl.desingularize(curve).psi(1e-3)`
    """

    gap: Float64[np.ndarray, " gaps"]
    value: Float64[np.ndarray, " gaps"]
    slope: Float64[np.ndarray, " gaps"]
    power: float

    def __call__(self, gap: ArrayLike) -> Float64[np.ndarray, "*shape"]:
        """The value at any gaps; NaN past the largest one of the run.

        Args:
            gap: Numbers, not negative.
        """
        gap = np.asarray(gap, dtype=float)
        ratio = np.clip(gap / self.gap[0], 0.0, 1.0)
        below = self.value[0] * ratio**self.power
        index = np.clip(np.searchsorted(self.gap, gap) - 1, 0, len(self.gap) - 2)
        width = np.diff(self.gap)[index]
        part = np.clip((gap - self.gap[index]) / width, 0.0, 1.0)
        bend = np.diff(self.slope)[index]
        inside = self.value[index] + width * part * (
            self.slope[index] + part * bend / 2
        )
        value = np.where(gap <= self.gap[0], below, inside)
        return np.where(gap <= self.gap[-1] * (1 + 1e-12), value, np.nan)


def concave(
    gap: Float64[np.ndarray, " gaps"],
    path: Float64[np.ndarray, " gaps"],
    speed: Float64[np.ndarray, " gaps"],
    start: float,
    power: float,
) -> Psi:
    r"""The smallest concave function whose slope keeps up with a run.

    $\Psi'$ is the smallest decreasing majorant of the reciprocal speed at the samples,
    and linear between them: an upper bound of a convex one, as every power law is. It
    is raised where it would miss the measured path.

    Args:
        gap: Increasing.
        path: The path from there to the first gap; increasing.
        speed: Of the margin per length of path.
        start: $\Psi$ at the first gap.
        power: Of the power law below it.
    """
    steps = np.diff(path)
    slope = np.maximum.accumulate(1 / speed[::-1])[::-1]
    short = steps / (np.diff(gap) * (slope[:-1] + slope[1:]) / 2)
    raised = np.maximum(1.0, short)
    slope = slope * np.maximum(np.append(1.0, raised), np.append(raised, 1.0))
    slope = np.maximum.accumulate(slope[::-1])[::-1]
    gains = np.diff(gap) * (slope[:-1] + slope[1:]) / 2
    value = start + np.append(0.0, np.cumsum(gains))
    return Psi(gap, value, slope, power)
