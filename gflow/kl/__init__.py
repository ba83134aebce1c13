"""Kurdyka-Lojasiewicz quantities of a curve: its exponent, and the path ahead."""

from ._desingularize import desingularize as desingularize
from ._psi import Psi as Psi
from ._result import Desingularization as Desingularization
