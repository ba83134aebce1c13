import math
from typing import NamedTuple

from .._flow import GradientFlow
from .._losses import Logistic
from ..nn import AbstractHomogeneous


LOGISTIC = Logistic()


class Problem(NamedTuple):
    """A flow and the network it starts from; unpacks as `flow, network = ...`."""

    flow: GradientFlow
    network: AbstractHomogeneous


def require_scale(scale: float) -> None:
    """Refuse a factor of the initial weights that is not positive and finite."""
    if not 0 < scale < math.inf:
        raise ValueError(
            f"`scale` must be positive and finite, but is {scale}. "
            "For weights near zero, pass 1e-100."
        )
