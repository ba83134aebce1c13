"""Layers as matrices: their balance, their alignment, their ranks.

Each function takes a `gflow.Point`; `curve.map(gflow.layers.alignments)` applies it
along a curve.
"""

from ._alignments import alignments as alignments
from ._balance import balance as balance, imbalance as imbalance
from ._product import product_direction as product_direction
from ._spectra import (
    rank_one_residuals as rank_one_residuals,
    spectral_ratios as spectral_ratios,
    stable_ranks as stable_ranks,
)
