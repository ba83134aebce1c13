r"""What a clock must know.

All clocks are measured against $\sigma$, with $\mathrm d\sigma = G\, r^{L-2}\,
\mathrm dt$ (and $G\, \mathrm dt$ in weight space), where $G = -\frac1n \sum_i
\ell'(z_i)$: late, physical time runs $10^{10^{300}}$ times as fast, and has no digits
to measure with.
"""

import abc

import equinox as eqx
from jaxtyping import Float

from .._types import AnyArray, Scalar


class Speeds(eqx.Module):
    r"""Where a flow is, and how fast things move there: all per unit of $\sigma$.

    Attributes:
        log_radius: $\log |w|$.
        log_loss: $\log \mathcal L$.
        log_time: $\log (\mathrm dt / \mathrm d\sigma)$; up to 1e300.
        log_slope: $\log (G\, \mathrm dt / \mathrm d\sigma)$.
        log_length: $\log (\|\mathrm dw\| / \mathrm d\sigma)$, in the norm of the flow.
    """

    log_radius: Scalar
    log_loss: Scalar
    log_time: Scalar
    log_slope: Scalar
    log_length: Scalar


class AbstractClock(eqx.Module):
    """What `tau` counts. Write an `AbstractRateClock` or an `AbstractTimeClock`."""

    @abc.abstractmethod
    def log_rate(self, speeds: Speeds) -> Scalar:
        r"""$\log (\mathrm d\tau / \mathrm d\sigma)$."""

    @abc.abstractmethod
    def tau_after(
        self,
        tau: Float[AnyArray, "*shape"],
        log_t: Float[AnyArray, "*shape"],
        log_elapsed: Float[AnyArray, "*shape"],
    ) -> Float[AnyArray, "*shape"]:
        r"""The clock at time `log_t`.

        Args:
            tau: The clock before.
            log_t: Logarithm of physical time.
            log_elapsed: Logarithm of the integral of the rate since then.
        """

    @abc.abstractmethod
    def log_t_at(
        self, tau: Float[AnyArray, "*shape"]
    ) -> Float[AnyArray, "*shape"] | None:
        """The logarithm of time at `tau`; `None` if it depends on the curve."""


class AbstractRateClock(AbstractClock):
    r"""A clock that is told by its rate along the curve.

    1. It is an `equinox.Module`; its numbers are arrays or Python floats.
    2. `log_rate` returns the logarithm of $\mathrm d\tau / \mathrm d\sigma$, a finite
       scalar, from `Speeds` alone. It is compiled: use `jax.numpy`.
    3. It is smooth along the curve: seven values on each step are interpolated.
    4. Where its rate is a function of time alone, write an `AbstractTimeClock`.
    """

    def tau_after(self, tau, log_t, log_elapsed):
        return tau + log_t.__array_namespace__().exp(log_elapsed)

    def log_t_at(self, tau):
        del tau
        return None


class AbstractTimeClock(AbstractClock):
    """A clock that is a function of physical time.

    1. It is an `equinox.Module`; its numbers are Python floats.
    2. `tau_of` increases with `log_t`, from 0 at minus infinity, and `log_t_at` is its
       inverse. Both take arrays of JAX or NumPy: `log_t.__array_namespace__()` has the
       functions of either.
    """

    @abc.abstractmethod
    def tau_of(self, log_t: Float[AnyArray, "*shape"]) -> Float[AnyArray, "*shape"]:
        """The clock at this logarithm of time."""

    def log_rate(self, speeds):
        return 0.0 * speeds.log_radius  # not used

    def tau_after(self, tau, log_t, log_elapsed):
        del tau, log_elapsed
        return self.tau_of(log_t)
