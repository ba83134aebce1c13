"""Homogeneous networks: Equinox modules without biases that map one input."""

from ._deep_linear import DeepLinear as DeepLinear
from ._homogeneous import AbstractHomogeneous as AbstractHomogeneous
from ._mlp import MLP as MLP
