"""When a solve stops: the first of several levels that the flow reaches."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int


LEVELS = ("log_t", "log_radius", "log_margin_scale", "log_loss", "converged")


@dataclasses.dataclass(frozen=True)
class Until:
    r"""The end of a solve; whichever level is met first stops it.

    Args:
        log_t: Stop when the logarithm of physical time reaches this.
        log_radius: Stop when $\rho = \log |w|$ reaches this, from below.
        log_margin_scale: Stop when $L \rho = \log R$ reaches this, from below; the
            margins of the network are $R$ times those of its direction.
        log_loss: Stop when the logarithm of the mean loss falls to this.
        converged: Stop when the tangent of the angle between the weights and the
            negative gradient, $|\mathrm d\theta / \mathrm d \rho|$, falls to this while
            all margins are positive. A saddle can meet it too: ask `limit`.
        event: Stop where this function of a `gflow.Point`, a real number, passes zero.
            It is looked at after each step; that it passes twice on one is not seen.

    Raises:
        ValueError: If neither a level nor an event is given, a level is not a finite
            number, `converged` is not positive, or the event is no function.

    Example:
        `Until(log_t=1e9, converged=1e-10)`
    """

    log_t: float | None = None
    log_radius: float | None = None
    log_margin_scale: float | None = None
    log_loss: float | None = None
    converged: float | None = None
    event: Callable[[Any], Any] | None = None

    def levels(self) -> dict[str, float]:
        """The levels that are given, by name."""
        given = {name: getattr(self, name) for name in LEVELS}
        return {name: value for name, value in given.items() if value is not None}

    def __post_init__(self):
        given = self.levels()
        if self.event is not None and not callable(self.event):
            raise ValueError(
                "`until.event` must be a function of a `gflow.Point`, but is "
                f"{self.event!r}."
            )
        if not given and self.event is None:
            raise ValueError(
                "`until` must name at least one level, such as `Until(log_t=1e9)`, but "
                "is empty."
            )
        for name, value in given.items():
            try:
                usable = not isinstance(value, str) and math.isfinite(float(value))
            except (TypeError, ValueError):
                usable = False
            if not usable:
                raise ValueError(
                    f"`until.{name}` must be a finite number, but is {value!r}. For no "
                    "such level, leave it out."
                )
        if self.converged is not None and self.converged <= 0:
            raise ValueError(
                f"`until.converged` must be positive, but is {self.converged}."
            )


@dataclasses.dataclass(frozen=True)
class SaveAt:
    """What a solve keeps, in place of all its steps.

    Args:
        log_t: Increasing logarithms of physical time; or
        tau: increasing times of the curve's clock. Those past the end, which is not
            known before, are left out.
        observables: Keep what this function of a `gflow.Point` returns, an array or a
            dictionary of arrays, in place of the points: then the trajectory has only
            its two ends, and `observables`. Without times, at every step.

    Raises:
        ValueError: If no times are given, or those of both kinds, or they do not
            increase; or if `observables` is no function.

    Example:
        `SaveAt(log_t=[1, 10, 100], observables=gflow.margins.normalized)`
    """

    log_t: ArrayLike | None = None
    tau: ArrayLike | None = None
    observables: Callable[[Any], Any] | None = None

    def __post_init__(self):
        if self.observables is not None and not callable(self.observables):
            raise ValueError(
                "`SaveAt.observables` must be a function of a `gflow.Point`, but is "
                f"{self.observables!r}."
            )
        given = (self.log_t is not None) + (self.tau is not None)
        if given > 1 or (given == 0 and self.observables is None):
            raise ValueError("`SaveAt` needs one of `log_t` and `tau`.")
        if given == 0:
            return
        times = self.times
        finite = times.ndim == 1 and times.size > 0 and bool(np.all(np.isfinite(times)))
        if not finite or not np.all(np.diff(times) > 0):
            raise ValueError(
                f"`SaveAt.{self.name}` must be a vector of increasing times, but is "
                f"{times.tolist()}."
            )

    @property
    def name(self) -> str:
        """The axis of the times, `log_t` or `tau`."""
        return "tau" if self.log_t is None else "log_t"

    @property
    def at_steps(self) -> bool:
        """Whether no times are given."""
        return self.log_t is None and self.tau is None

    @property
    def times(self) -> np.ndarray:
        """The times; none at steps."""
        given = getattr(self, self.name)
        return np.asarray([] if given is None else given, dtype=float)


class Levels(eqx.Module):
    """`Until` as an array, so that another level compiles nothing anew.

    All five are made to rise: the last two with their sign changed.
    """

    values: Float[Array, " levels"]

    def __init__(self, until: Until):
        signs = {"log_loss": -1, "converged": -1}
        asked = {name: getattr(until, name) for name in LEVELS}
        levels = [
            math.inf if value is None else signs.get(name, 1) * float(value)
            for name, value in asked.items()
        ]
        self.values = jnp.asarray(np.array(levels))

    def reached(self, values: Float[Array, " levels"]) -> Int[Array, ""]:
        """The number, from 1, of the first of `LEVELS` that is met; 0 for none."""
        met = (values >= self.values) & (self.values < jnp.inf)
        return jnp.where(jnp.any(met), jnp.argmax(met) + 1, 0)
