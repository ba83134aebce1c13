"""The choice of coordinates and clock for a network."""

import math

from jaxtyping import PyTree

from ._degree import NotHomogeneousError, degree as find_degree
from ._field import Field
from ._flow import AbstractFlow, SteepestFlow
from .clocks import AbstractClock, AbstractTimeClock, LogTime, Loss, Polar


OTHERS = "Use another of `gflow.clocks`, or leave it out."


def choose_field(
    flow: AbstractFlow, network: PyTree, clock: AbstractClock | None
) -> tuple[Field, float]:
    """The field of a network, and its degree (NaN if it has none).

    Raises:
        ValueError: If the clock cannot work for this network or loss.
    """
    if clock is not None and not isinstance(clock, AbstractClock):
        raise ValueError(
            f"`clock` must be one of `gflow.clocks`, such as `LogTime()`, but is "
            f"{clock!r}. (A class? Call it to make an instance.)"
        )
    targets, polar = flow.kind == "targets", isinstance(clock, Polar)
    if targets and not (clock is None or isinstance(clock, AbstractTimeClock)):
        raise ValueError(
            f"`clock` must be a function of time for the square loss, such as "
            f"`LogTime()`, but is {clock!r}: its flow ends at finite weights. {OTHERS}"
        )
    try:
        degree = find_degree(network, flow.x)
    except NotHomogeneousError as error:
        if polar:
            raise ValueError(
                f"`clock` must not be {clock!r} for this network, which is not "
                f"homogeneous. {OTHERS} {error}"
            ) from None
        degree = math.nan
    steepest = isinstance(flow, SteepestFlow)
    if polar and steepest:
        raise ValueError(
            f"`clock` must not be {clock!r} for a `gflow.SteepestFlow`: the sphere of "
            f"polar coordinates is that of the l2 norm. {OTHERS}"
        )
    if clock is None:
        plain = steepest or math.isnan(degree)
        clock = LogTime() if targets else Loss() if plain else Polar()
    return Field(flow, network, clock, degree), degree
