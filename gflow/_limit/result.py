"""What is known about the end of a trajectory."""

import dataclasses
import enum

import numpy as np
from jaxtyping import Float64, Int, PyTree

from .._point import Point
from .._text import table


class Verdict(enum.StrEnum):
    """What `gflow.limit` concludes; each compares equal to its words."""

    LOCAL_MAXIMUM = "local maximum"
    FIRST_ORDER = "first order only"
    SADDLE = "saddle"
    NOT_YET = "not yet"
    NOT_SHOWN = "not shown"


@dataclasses.dataclass(frozen=True)
class Certificate:
    r"""How well a direction meets the first-order conditions of the largest margin.

    Those of $\min \frac12 |w|^2$ subject to $z_i(w) \geq 1$, at $w = m^{-1/L} \theta$.

    Attributes:
        active: The margins within 1e-9 $m$ of the smallest; increasing.
        multipliers: $\lambda_i \geq 0$ with $w = \sum_i \lambda_i \nabla z_i(w)$. They
            sum to $|w|^2 / L$; divided by their sum they are the weights $q$ that the
            flow tends to. Of dependent gradients, some have zero.
        stationarity: $|w - \sum_i \lambda_i \nabla z_i(w)|$, with the generalized
            gradients that `gates` select.
        infeasibility: $\max_i (1 - z_i(w))$ over the margins that carry a multiplier
            and over those that are violated.
        slack: $\max_i \lambda_i (z_i(w) - 1)$, as Lyu and Li measure it.
        slack_sum: $\sum_i \lambda_i |z_i(w) - 1|$, as Tsilivis et al. do.
        gap: Of strict complementarity: the least of $q_i + z_i(w) - 1$. At zero some
            margin is active and carries nothing.
        slides: The kinks that the flow slides along there, of samples whose margin is
            active: sample times the number of kinks of one sample, plus the kink.
        gates: For each the share in [0, 1] of its branch $u > 0$ in the generalized
            gradient; NaN if that does not depend on it.
    """

    active: Int[np.ndarray, " active"]
    multipliers: Float64[np.ndarray, " margins"]
    stationarity: float
    infeasibility: float
    slack: float
    slack_sum: float
    gap: float
    slides: Int[np.ndarray, " kinks"]
    gates: Float64[np.ndarray, " kinks"]


@dataclasses.dataclass(frozen=True)
class Stability:
    r"""How deviations from a stationary direction grow or decay.

    Attributes:
        rates: Growth rates of deviations in the polar clock, decreasing: eigenvalues of
            the projected Hessian of the Lagrangian. All of them up to 800 weights,
            else the 12 largest. Over $L m$ they are powers of the radius.
        directions: The unit vector of each of the `unstable` rates, as networks with a
            leading axis.
        unstable: How many rates are positive.
        neutral: How many rates are zero to 1e-7 $L m$.
        amplitude: The part of the deviation at the end that grows, in radians.
        log_log_t: $\log \log t$ at the end, taken as $\beta \log (r^L m)$, which it
            tends to, with $\beta$ the tail of the loss.
        log_log_t_escape: Where $\log \log t$ will be when the growing part of the
            deviation has come to half a radian, by linear growth: an order of
            magnitude. `inf` at a local maximum, NaN if it cannot be told.
    """

    rates: Float64[np.ndarray, " rates"]
    directions: PyTree
    unstable: int
    neutral: int
    amplitude: float
    log_log_t: float
    log_log_t_escape: float


@dataclasses.dataclass(frozen=True)
class Limit:
    r"""A stationary direction of the late flow, and what is proved about it.

    Where the verdict is "not yet" for want of a stationary direction, all fields
    describe the end of the curve itself.

    Attributes:
        verdict: "local maximum" of the normalized margin: the flow ends here. "first
            order only": all deviations decay but those that switch on units that are
            zero, or at a kink; of these nothing is known. "saddle": it stays near for
            long and leaves. "not yet": neither is proved. "not shown": there is no
            certificate for this case, as where kinks behind kinks are slid along.
        reasons: Sentences that give the grounds of the verdict.
        point: The network $\theta$, of norm one, with the weights $q$ of the limit.
        margin: The normalized margin $m = \min_i z_i(\theta)$.
        distance: From the end of the curve, in radians.
        certificate: The first-order conditions.
        stability: Those of second order, and what follows for the flow.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    point: Point
    margin: float
    distance: float
    certificate: Certificate
    stability: Stability

    @property
    def direction(self) -> PyTree:
        r"""The network $\theta$, of norm one."""
        return self.point.direction

    def __str__(self) -> str:
        """The verdict and its grounds."""
        return f"{self.verdict}: " + " ".join(self.reasons)

    def __repr__(self) -> str:
        """A dozen lines: what was found, how exactly, and what follows."""
        proof, view = self.certificate, self.stability
        rates = ", ".join(f"{rate:.3g}" for rate in view.rates[:3])
        rows = {
            "verdict": self.verdict,
            "margin": f"{self.margin:.15g}",
            "distance": f"{self.distance:.3g} radians from the end of the curve",
            "stationarity": f"{proof.stationarity:.2g}",
            "infeasibility": f"{proof.infeasibility:.2g}",
            "active": f"{len(proof.active)} of {len(proof.multipliers)} margins, "
            f"{np.sum(proof.multipliers > 0)} with a multiplier",
            "kinks": f"{len(proof.slides)} slid along",
            "growth": f"{view.unstable} unstable, {view.neutral} neutral; {rates}, ...",
            "log log t": f"{view.log_log_t:.6g} at the end, leaves at "
            f"{view.log_log_t_escape:.6g}",
            "reasons": " ".join(self.reasons),
        }
        return table("Limit", rows)
