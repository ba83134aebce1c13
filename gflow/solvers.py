"""Diffrax solvers for `gflow.solve`: implicit steps solved in the space of samples."""

from ._solvers import (
    SampleSpaceKvaerno3 as SampleSpaceKvaerno3,
    SampleSpaceKvaerno5 as SampleSpaceKvaerno5,
    Switching as Switching,
)
