"""Single neurons: where their weights point, how large they are, when they are on.

Each function takes a `gflow.Point`; `curve.map(gflow.neurons.directions)` applies it
along a curve.
"""

from ._balance import balance as balance
from ._directions import directions as directions, shares as shares
from ._patterns import (
    pattern_distance as pattern_distance,
    patterns as patterns,
    sliding as sliding,
)
from ._rotations import rotations as rotations
