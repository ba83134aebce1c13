"""The choice of coordinates and clock for a network."""

import math

from jaxtyping import PyTree

from ._degree import NotHomogeneousError, degree as find_degree
from ._euclidean import CLOCKS as EUCLIDEAN_CLOCKS, EuclideanField, euclidean_state
from ._field import AbstractField, State
from ._flow import AbstractFlow, SteepestFlow
from ._polar import PolarField, polar_state


CLOCKS = ("polar", *EUCLIDEAN_CLOCKS)
TIMES = ("time", "log_time")


def choose_field(
    flow: AbstractFlow, network: PyTree, clock: str | None
) -> tuple[AbstractField, State, float]:
    """The field of a network, its state, and its degree (NaN if it has none).

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
                f'`clock` must be one of {EUCLIDEAN_CLOCKS} for this network, but is "'
                f'polar", which needs a homogeneous one. {error}'
            ) from None
        degree = math.nan
    steepest = isinstance(flow, SteepestFlow)
    if clock == "polar" and steepest:
        raise ValueError(
            f"`clock` must be one of {EUCLIDEAN_CLOCKS} for a `gflow.SteepestFlow`, "
            'but is "polar", whose sphere is that of the l2 norm. For that norm, use '
            "`gflow.GradientFlow`."
        )
    if clock is None:
        plain = steepest or math.isnan(degree)
        clock = "log_time" if targets else "loss" if plain else "polar"
    if clock == "polar":
        return PolarField(flow, network, degree), polar_state(network), degree
    field = EuclideanField(flow, network, clock, degree)
    return field, euclidean_state(network), degree
