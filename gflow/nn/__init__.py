"""Networks that map one input, as Equinox modules, and what to build others from.

Those without biases are homogeneous in their weights.
"""

from .._tree import Fixed as Fixed
from ._conv import Conv2d as Conv2d
from ._conv_net import ConvNet as ConvNet
from ._deep_linear import DeepLinear as DeepLinear
from ._frozen import Frozen as Frozen
from ._homogeneous import AbstractHomogeneous as AbstractHomogeneous
from ._mlp import MLP as MLP
from ._pool import avg_pool as avg_pool, max_pool as max_pool
from ._radius import radius as radius
from ._residual import ResidualMLP as ResidualMLP
from ._smooth import (
    DenseNet as DenseNet,
    SmoothMLP as SmoothMLP,
    leaky_silu as leaky_silu,
)
