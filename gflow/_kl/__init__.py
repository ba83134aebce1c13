"""Kurdyka-Lojasiewicz quantities of a trajectory."""

from .desingularize import desingularize as desingularize
from .psi import Psi as Psi
from .result import Desingularization as Desingularization
