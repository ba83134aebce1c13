"""`load`: from a netCDF file to a trajectory."""

from pathlib import Path

from jaxtyping import PyTree

from . import _extras
from ._flow import AbstractFlow
from ._trajectory import Trajectory
from .clocks import AbstractClock


def load(
    path: str | Path,
    flow: AbstractFlow,
    network: PyTree,
    *,
    clock: AbstractClock | None = None,
) -> Trajectory:
    """Read a trajectory that `Trajectory.save` wrote, to the last bit.

    With its dense output, if it had one: `at`, `map` and `gflow.limit` work as before.
    A file holds arrays and no Python objects, so that reading it is safe; what the
    arrays mean as a network is told by `network`.

    Args:
        path: The file.
        flow: The flow that was solved: the same loss and data.
        network: A network made as that of the solve was. The values of its weights do
            not matter.
        clock: That of the solve, if it was none of those in `gflow.clocks`.

    Returns:
        The trajectory.

    Raises:
        ValueError: If the file is missing, damaged or no trajectory, or if `flow`,
            `network` or `clock` is another than it was solved with.
        ImportError: If xarray, h5netcdf or h5py is not installed:
            `pip install '.[netcdf]'`.

    Example:
        `gflow.load("run.nc", flow, network)`
    """
    return _extras.netcdf().load(path, flow, network, clock)
