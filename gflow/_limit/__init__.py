"""Where the flow ends, and the proof."""

from .limit import limit as limit
from .result import Limit as Limit, Verdict as Verdict
