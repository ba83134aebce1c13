"""Small labeled data sets: plain float64 arrays, the same on every machine.

No function here changes global state, draws from a global generator or needs JAX.
"""

from ._digits import digits as digits
from ._mnist import mnist as mnist
from ._parity import parity as parity
from ._separable import separable as separable
from ._two_gaussians import two_gaussians as two_gaussians
