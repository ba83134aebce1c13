"""How far a curve has come: lengths, angles, and rates in time."""

from ._length import length as length
from ._rates import (
    log_loss_constant as log_loss_constant,
    log_radius_constant as log_radius_constant,
)
from ._rotation import log_distance as log_distance, rotation as rotation
