"""How nearly weights solve the max-margin problem, and align with the gradient.

Each function takes a `gflow.Point`; `curve.map(gflow.kkt.residual)` applies it along a
curve. Those that work on the host are called point by point.
"""

from ._alignment import (
    alignment as alignment,
    gradient_alignments as gradient_alignments,
    turning as turning,
)
from ._bregman import bregman as bregman
from ._clarke import clarke as clarke
from ._gradients import (
    GradientParts as GradientParts,
    loss_gradient as loss_gradient,
    smoothed_margin_gradient as smoothed_margin_gradient,
)
from ._min_norm import (
    MinNormSubgradient as MinNormSubgradient,
    min_norm_subgradient as min_norm_subgradient,
)
from ._residual import KKTResidual as KKTResidual, residual as residual
from ._tightest import tightest as tightest
