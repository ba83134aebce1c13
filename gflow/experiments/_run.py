"""How experiments follow a flow, and measure what it has reached."""

import math
from collections.abc import Callable
from typing import Any

import gflow
import numpy as np
from jaxtyping import PyTree


TOLERANCES = 100
"""What a solve may err by, in units of `rtol`: "right to 20 to 100 times rtol" is what
the README promises of a direction."""


def follow(
    flow: "gflow.AbstractFlow",
    network: PyTree,
    until: "gflow.Until",
    *,
    rtol: float,
    max_steps: int,
) -> "gflow.Trajectory":
    """A solve that returns what it has when it ends early, and draws nothing."""
    return gflow.solve(
        flow, network, until=until, rtol=rtol, max_steps=max_steps, progress=False,
        throw=False,
    )  # fmt: skip


def measured(
    curve: "gflow.Trajectory", count: int, function: Callable[[], Any]
) -> list[float]:
    """What a function measures, `count` numbers; NaN if the flow ended early."""
    if curve.result != gflow.RESULTS.successful:
        return [math.nan] * count
    found = [float(value) for value in np.ravel(function())]
    assert len(found) == count
    return found
