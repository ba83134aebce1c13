"""Where the flow ends, and the proof."""

from .limit import limit as limit
from .result import (
    Certificate as Certificate,
    Limit as Limit,
    Stability as Stability,
    Verdict as Verdict,
)
