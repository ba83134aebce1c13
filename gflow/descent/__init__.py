"""Gradient descent, to compare the flow with.

`descend` follows a method for a number of gradients; its curve is read by all that
reads a trajectory. A method of your own is an `AbstractDescentMethod`.
"""

from ._abstract import AbstractDescentMethod as AbstractDescentMethod, Place as Place
from ._curve import Descent as Descent
from ._descend import descend as descend
from ._gradient_descent import GradientDescent as GradientDescent
from ._loss_scaled import LossScaledDescent as LossScaledDescent
