"""One member of a sweep: made, solved, and reduced to the numbers that are kept."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._solve import solve
from ._trajectory import Trajectory
from ._until import Until


class Outcome(NamedTuple):
    """What became of a member.

    Attributes:
        result: The name of one of `gflow.RESULTS`, or `FAILED`.
        message: The error, if there was one.
        seconds: What it took, compilation included.
        values: What `record` made of its curve.
    """

    result: str
    message: str
    seconds: float
    values: dict[str, np.ndarray]


FAILED = "failed"


def ends(curve: Trajectory) -> dict[str, Any]:
    """Where a curve ends: time, radius, loss, and the normalized margin."""
    point, margin = curve[-1], jnp.nan
    if point.degree is not None and curve.flow.kind != "targets":
        margin = jnp.min(curve.flow.margins(point.direction))
    return {
        "log_t": point.log_t,
        "log_radius": point.log_radius,
        "log_loss": point.log_loss,
        "margin": margin,
    }


def follow(
    make: Callable[..., Any],
    given: Mapping[str, Any],
    until: Until,
    record: Callable[[Trajectory], Mapping[str, Any]],
    options: Mapping[str, Any],
    x64: bool,
) -> Outcome:
    """Solve one member, in whatever process; an error becomes its outcome."""
    began = time.perf_counter()
    if jax.config.read("jax_enable_x64") != x64:  # a new process
        jax.config.update("jax_enable_x64", x64)
    result, message, values = FAILED, "", {}
    try:
        flow, network = make(**given)
        curve = solve(
            flow, network, until=until, progress=False, throw=False, **options
        )
        found = record(curve)
        if not isinstance(found, Mapping):
            raise ValueError(
                f"`record` must return a dictionary of numbers, but returned {found!r}."
            )
        values = {name: np.asarray(found[name], dtype=float) for name in found}
        result = curve.result.name
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
    return Outcome(result, message, time.perf_counter() - began, values)
