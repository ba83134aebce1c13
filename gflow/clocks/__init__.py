"""What `tau` counts along a curve; the curve and its steps are the same for all.

`gflow.solve(..., clock=gflow.clocks.LogTime())`. A clock of your own is an
`AbstractRateClock` or an `AbstractTimeClock`.
"""

from ._abstract import (
    AbstractClock as AbstractClock,
    AbstractRateClock as AbstractRateClock,
    AbstractTimeClock as AbstractTimeClock,
    Speeds as Speeds,
)
from ._ready import (
    ArcLength as ArcLength,
    LogTime as LogTime,
    Loss as Loss,
    Polar as Polar,
    Time as Time,
)
