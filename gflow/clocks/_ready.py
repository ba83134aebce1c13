"""The clocks that gflow has."""

import numpy as np

from ._abstract import AbstractRateClock, AbstractTimeClock


class Polar(AbstractRateClock):
    r"""The clock of polar coordinates, $\mathrm d\tau = G\, r^{L-2} \mathrm dt$.

    $G = -\frac1n \sum_i \ell'(z_i)$ is over the samples that some weight moves.
    In it $\mathrm d\theta / \mathrm d\tau = P_\theta J(\theta)^\top q$, which depends
    on the radius through $q$ alone. For homogeneous networks and gradient flow.
    """

    def log_rate(self, speeds):
        return 0.0 * speeds.log_radius


class Loss(AbstractRateClock):
    r"""$\mathrm d\tau = G\,\mathrm dt$: in it the weights move by $J(w)^\top q$.

    $G = -\frac1n \sum_i \ell'(z_i)$ is over the samples that some weight moves.
    """

    def log_rate(self, speeds):
        return speeds.log_slope


class ArcLength(AbstractRateClock):
    r"""The length of the curve of the weights, $\mathrm d\tau = |\mathrm dw|$."""

    def log_rate(self, speeds):
        return speeds.log_length


class LogTime(AbstractTimeClock):
    r"""$\tau = \log(1 + t)$."""

    def tau_of(self, log_t):
        return log_t.__array_namespace__().logaddexp(0.0, log_t)

    def log_t_at(self, tau):
        with np.errstate(divide="ignore"):
            return tau + np.log(-np.expm1(-tau))  # log(e^tau - 1), past tau = 709 too


class Time(AbstractTimeClock):
    r"""Physical time $t$, which overflows at 1e308."""

    def tau_of(self, log_t):
        return log_t.__array_namespace__().exp(log_t)

    def log_t_at(self, tau):
        with np.errstate(divide="ignore"):
            return np.log(tau)
