"""What a clock that states its rate must keep."""

import itertools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..clocks import AbstractClock, Speeds
from ._differences import jump_of_slope
from ._report import require, require_close


PLACES = 12
"""How many random places on a curve a rate is tried at, each with one far out."""


def check_rate(clock: AbstractClock, name: str) -> None:
    """The rate is a smooth function of where the flow is."""
    law = f"`{name}.log_rate` must be a finite float64 scalar, a function of `Speeds`"
    rate = eqx.filter_jit(lambda numbers: clock.log_rate(_speeds(numbers)))
    places = _places()
    for numbers in places:
        plain, found = clock.log_rate(_speeds(numbers)), rate(numbers)
        for value in (plain, found):
            fits = jnp.shape(value) == () and jnp.result_type(value) == jnp.float64
            fits = fits and bool(jnp.isfinite(value))
            require(fits, law, f"is {value} at {_text(numbers)}")
        again = clock.log_rate(_speeds(numbers))
        room = 1e-12 * max(1.0, float(jnp.max(jnp.abs(numbers))))
        for value, how in ((found, "compiled"), (again, "called again")):
            found_text = f"is {plain} and, {how}, {value} at {_text(numbers)}"
            require(abs(float(value - plain)) <= room, law, found_text)
    law = f"`{name}.log_rate` must be smooth along a curve"
    slope = jax.jit(
        lambda first, last, u: jax.jvp(
            lambda u: clock.log_rate(_speeds(first + u * (last - first))), (u,), (1.0,)
        )
    )
    near = places[:PLACES]
    for first, last in itertools.pairwise(near):

        def both(u, first=first, last=last):
            return np.stack([np.asarray(v) for v in slope(first, last, u)])

        at, jump = jump_of_slope(both, 0.0, 1.0)
        here = _text(first + at * (last - first))
        require(jump == 0, law, f"jumps, it or its slope, by {jump:.2g} at {here}")


def check_sum(clock: Any, name: str) -> None:
    """The clock is the integral of its rate."""
    law = f"`{name}.tau_after` must add the integral of the rate"
    tau, log_t = np.array([0.0, 2.0, 1e5]), np.array([-3.0, 0.0, 9.0])
    for elapsed in (-math.inf, -30.0, 0.0, 11.0):
        logs = np.full(3, elapsed)
        expected = tau + np.exp(logs)
        for wrap in (np.asarray, jnp.asarray):
            found = clock.tau_after(wrap(tau), wrap(log_t), wrap(logs))
            require_close(
                np.asarray(found),
                expected,
                1e-14 * (1 + expected),
                law,
                lambda at, elapsed=elapsed: f"from {tau[at]:g} after exp({elapsed:g})",
            )


def _places() -> jax.Array:
    r"""Log of radius, loss, dt/dsigma, G dt/dsigma and |dw|/dsigma at places."""
    random = np.random.default_rng(0)
    rows = []
    for far in (False, True):
        degrees = random.choice([1.0, 2.0, 3.0, 6.0], PLACES)
        log_radius = random.uniform(-230, 20, PLACES)
        log_loss = -(10 ** random.uniform(-3, 2.5, PLACES)) + random.uniform(0, 2)
        if far:
            log_radius = random.uniform(20, 300, PLACES)
            log_loss = -(10 ** random.uniform(3, 300, PLACES))
        slope = -(degrees - 2) * log_radius
        length = log_radius + random.normal(size=PLACES)
        rows.append([log_radius, log_loss, slope - log_loss, slope, length])
    return jnp.asarray(np.concatenate([np.stack(row, axis=1) for row in rows]))


def _speeds(numbers: jax.Array) -> Speeds:
    return Speeds(*numbers)


def _text(numbers: jax.Array) -> str:
    names = ("log radius", "log loss", "log time", "log slope", "log length")
    pairs = zip(names, numbers.tolist(), strict=True)
    return ", ".join(f"{name} {value:.4g}" for name, value in pairs)
