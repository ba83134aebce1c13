"""Norms of all weights, in which a flow is steepest.

`gflow.SteepestFlow(loss, x, y, norm="linf")` names a ready one: "l2", "linf", "l1" or
"spectral". A norm of your own is an `AbstractNorm`.
"""

from ._abstract import (
    AbstractNorm as AbstractNorm,
    AbstractSlopedNorm as AbstractSlopedNorm,
)
