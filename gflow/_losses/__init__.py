from .abstract import (
    AbstractLoss as AbstractLoss,
    AbstractMarginLoss as AbstractMarginLoss,
)
from .cross_entropy import CrossEntropy as CrossEntropy
from .exponential import Exponential as Exponential
from .exponential_tail import ExponentialTail as ExponentialTail
from .logistic import Logistic as Logistic
from .square import Square as Square
