"""The choice of coordinates and clock for a network."""

import math

from jaxtyping import PyTree

from ._degree import NotHomogeneousError, degree as find_degree
from ._field import CLOCKS, TIMES, Field
from ._flow import AbstractFlow, SteepestFlow


FLAT = tuple(clock for clock in CLOCKS if clock != "polar")


def choose_field(
    flow: AbstractFlow, network: PyTree, clock: str | None
) -> tuple[Field, float]:
    """The field of a network, and its degree (NaN if it has none).

    Raises:
        ValueError: If the clock cannot work for this network or loss.
    """
    if clock is not None and clock not in CLOCKS:
        raise ValueError(f"`clock` must be one of {CLOCKS}, but is {clock!r}.")
    targets = flow.kind == "targets"
    if targets and clock not in (None, *TIMES):
        raise ValueError(
            f"`clock` must be one of {TIMES} for the square loss, whose flow ends at "
            f"finite weights, but is {clock!r}."
        )
    try:
        degree = find_degree(network, flow.x)
    except NotHomogeneousError as error:
        if clock == "polar":
            raise ValueError(
                f'`clock` must be one of {FLAT} for this network, but is "polar", '
                f"which needs a homogeneous one. {error}"
            ) from None
        degree = math.nan
    steepest = isinstance(flow, SteepestFlow)
    if clock == "polar" and steepest:
        raise ValueError(
            f"`clock` must be one of {FLAT} for a `gflow.SteepestFlow`, but is "
            '"polar", whose sphere is that of the l2 norm. For that norm, use '
            "`gflow.GradientFlow`."
        )
    if clock is None:
        plain = steepest or math.isnan(degree)
        clock = "log_time" if targets else "loss" if plain else "polar"
    return Field(flow, network, clock, degree), degree
