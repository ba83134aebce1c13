"""Margins: how far all samples are on the right side, and how that grows.

Each function takes a `gflow.Point`; `curve.map(gflow.margins.normalized)` applies it
along a curve.
"""

from ._growth import MarginGrowth as MarginGrowth, growth as growth
from ._modified import modified as modified
from ._norm import in_norm as in_norm, steepest as steepest
from ._norm_product import norm_product as norm_product
from ._normalized import normalized as normalized, smoothed as smoothed
from ._saliency import saliency as saliency
from ._support import slacks as slacks, support as support
