"""What is known about the rise of the smoothed margin."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float64

from ._psi import Psi


@dataclasses.dataclass(frozen=True)
class Desingularization:
    r"""How fast the smoothed margin rises, against how much it still lacks.

    Arrays have one entry a sample, NaN before the smoothed margin is positive for good;
    `gap` and `remaining` are NaN past the last resolved sample too.

    At a limit where the margin is flat to order $k > 2$ the exponent is $1 - 1/k$, and
    the direction moves like a power of $\log r$. If the slowest deviation decays like
    $r^{-\sigma}$ it is $\min(1/2, \max(0, 1 - \sigma/L))$: with several active margins
    the entropy of $q$ leaves a gap of the order $r^{-L}$, and moves the direction as
    much. With a single one it is $1/2$ whatever $\sigma$ (derived). Where it is 0, the
    weights $q$ lose their digits early, at $R$ of about `rtol` to the power $-1/2$.

    Attributes:
        zeta: The path length $\zeta$ of the direction, in radians.
        gap: $a - \tilde\gamma$, with $a$ the limit of the smoothed margin. It has
            digits far below the rounding of $a$.
        speed: $\mathrm d\tilde\gamma / \mathrm d\zeta$, margin per radian.
        log_case: $\log (|\nabla_\perp \tilde\gamma|\,/\,
            r^p |\partial_r \tilde\gamma|)$; of the two cases of Ji and Telgarsky, the
            spherical one is where it is positive.
        resolved: Whether the run has digits: see `discord`.
        exponent: $\kappa$ in $\mathrm d\tilde\gamma / \mathrm d\zeta \approx
            C (a - \tilde\gamma)^\kappa$ near the end. Below 1 the path is finite.
        exponent_error: Its uncertainty: the standard error of the fit, the two
            measurements of the path (see `discord`), and how much the exponents of
            fewer samples differ, taken larger the less the gap falls in between, as if
            corrections to the law decayed like its fourth root.
        factor: $C$.
        fitted: The samples that the exponent was fitted to.
        tail: The path past the last resolved sample, by the power law; an estimate.
        remaining: $\zeta_\infty - \zeta$, measured up to the last resolved sample, and
            `tail` past it.
        psi: A concave $\Psi$ with $\Psi' \cdot \mathrm d\tilde\gamma/\mathrm d\zeta
            \geq 1$ along the run.
        bound: $\Psi(a - \tilde\gamma) \geq \zeta_\infty - \zeta$. Past the last
            resolved sample it keeps its value there. What no sample has seen rests on
            the power law, with the exponent raised by twice its error.
    """

    zeta: Float64[np.ndarray, " times"]
    gap: Float64[np.ndarray, " times"]
    speed: Float64[np.ndarray, " times"]
    log_case: Float64[np.ndarray, " times"]
    resolved: Bool[np.ndarray, " times"]
    exponent: float
    exponent_error: float
    factor: float
    fitted: Bool[np.ndarray, " times"]
    tail: float
    remaining: Float64[np.ndarray, " times"]
    psi: Psi
    bound: Float64[np.ndarray, " times"]

    def __str__(self) -> str:
        """The exponent and the path that remains."""
        last = np.flatnonzero(self.resolved)[-1]
        return (
            f"Exponent {self.exponent:.4g} +- {self.exponent_error:.1g} over gaps from "
            f"{np.nanmax(self.gap[self.fitted]):.1e} to {self.gap[last]:.1e}; at the "
            f"last resolved sample {self.tail:.1e} rad of path remain, at most "
            f"{self.bound[last]:.1e}."
        )
