"""Named problems: a flow and the network it starts from, the same on every machine.

Tests, benchmarks and notebooks share them, so that their figures can be compared. All
have two classes and scalar outputs. JAX must be in 64-bit mode.
"""

from ._gaussian import (
    cubic as cubic,
    digits as digits,
    gaussians as gaussians,
    held as held,
    linear as linear,
    relu2 as relu2,
)
from ._mexican_hat import MexicanHat as MexicanHat, mexican_hat as mexican_hat
from ._problem import Problem as Problem
