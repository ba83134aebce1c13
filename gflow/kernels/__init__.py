"""The neural tangent kernel of the margins.

Each function takes a `gflow.Point`; `curve.map(gflow.kernels.tangent)` applies it along
a curve.
"""

from ._tangent import change as change, tangent as tangent
