"""What is known about the end of a trajectory."""

import dataclasses
import enum

import numpy as np
from jaxtyping import Float64, Int, PyTree


class Verdict(enum.StrEnum):
    """What `gflow.limit` concludes; each compares equal to its words."""

    LOCAL_MAXIMUM = "local maximum"
    FIRST_ORDER = "first order only"
    SADDLE = "saddle"
    NOT_YET = "not yet"
    NOT_SHOWN = "not shown"


@dataclasses.dataclass(frozen=True)
class Limit:
    r"""A stationary direction of the late flow, and what is proved about it.

    Multipliers and residuals are those of $\min \frac12 |w|^2$ subject to
    $z_i(w) \geq 1$, at $w = m^{-1/L} \theta$. Where the verdict is "not yet" for want
    of a stationary direction, all fields describe the end of the trajectory itself.

    Attributes:
        verdict: "local maximum" of the normalized margin: the flow ends here. "first
            order only": all deviations decay but those that switch on units that are
            zero, or at a kink; of these nothing is known. "saddle": it stays near for
            long and leaves. "not yet": neither is proved. "not shown": there is no
            certificate for this case, as where kinks behind kinks are slid along.
        reasons: Sentences that give the grounds of the verdict.
        direction: The network $\theta$, of norm one.
        margin: The normalized margin $m = \min_i z_i(\theta)$.
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
        distance: From the end of the trajectory, in radians.
        rates: Growth rates of deviations in the polar clock, decreasing: eigenvalues of
            the projected Hessian of the Lagrangian. All of them up to 800 weights,
            else the 12 largest. Over $L m$ they are powers of the radius.
        directions: The unit vector of each of the `unstable` rates, as networks with a
            leading axis.
        unstable: How many rates are positive.
        neutral: How many rates are zero to 1e-7 $L m$.
        amplitude: The part of the deviation at the end that grows, in radians.
        log_log_t: $\log \log t$ at the end, taken as $\log (r^L m)$, which it tends to.
        log_log_t_escape: Where $\log \log t$ will be when the growing part of the
            deviation has come to half a radian, by linear growth: an order of
            magnitude. `inf` at a local maximum, NaN if it cannot be told.
        slides: The kinks that the flow slides along there, of samples whose margin is
            active: sample times the number of kinks of one sample, plus the kink.
        gates: For each the share in [0, 1] of its branch $u > 0$ in the generalized
            gradient; NaN if that does not depend on it.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    direction: PyTree
    margin: float
    active: Int[np.ndarray, " active"]
    multipliers: Float64[np.ndarray, " margins"]
    stationarity: float
    infeasibility: float
    slack: float
    slack_sum: float
    gap: float
    distance: float
    rates: Float64[np.ndarray, " rates"]
    directions: PyTree
    unstable: int
    neutral: int
    amplitude: float
    log_log_t: float
    log_log_t_escape: float
    slides: Int[np.ndarray, " kinks"]
    gates: Float64[np.ndarray, " kinks"]

    def __str__(self) -> str:
        """The verdict and its grounds."""
        return f"{self.verdict}: " + " ".join(self.reasons)
