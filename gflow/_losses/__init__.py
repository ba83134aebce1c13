from .abstract import AbstractMarginLoss as AbstractMarginLoss
from .exponential import Exponential as Exponential
from .logistic import Logistic as Logistic
