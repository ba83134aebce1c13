from .abstract import AbstractDescentMethod as AbstractDescentMethod, Point as Point
from .curve import Descent as Descent
from .descend import descend as descend
from .gradient_descent import GradientDescent as GradientDescent
from .loss_scaled import LossScaledDescent as LossScaledDescent
