"""The gradient flow of homogeneous networks, from tiny weights to its limit."""

from . import data as data, nn as nn, problems as problems, reference as reference
from ._degree import degree as degree
from ._drive import SolveError as SolveError
from ._flow import GradientFlow as GradientFlow
from ._losses import Exponential as Exponential, Logistic as Logistic
from ._polar import (
    PolarField as PolarField,
    polar_state as polar_state,
    polar_velocity as polar_velocity,
)
from ._progress import AbstractMeter as AbstractMeter
from ._results import RESULTS as RESULTS
from ._solve import resume as resume, solve as solve
from ._solvers import (
    SampleSpaceKvaerno3 as SampleSpaceKvaerno3,
    SampleSpaceKvaerno5 as SampleSpaceKvaerno5,
)
from ._trajectory import Trajectory as Trajectory
from ._until import SaveAt as SaveAt, Until as Until
