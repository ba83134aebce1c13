"""What needs an extra of gflow, imported only when it is called for."""

import importlib
from types import ModuleType


def need(module: str, extra: str) -> ModuleType:
    """Import a module, or say which extra brings what it lacks.

    Raises:
        ImportError: If a library is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "gflow").split(".")[0]
        if missing == "gflow":  # a fault of ours
            raise
        raise ImportError(
            f"This part of gflow needs `{missing}`, which is not installed. "
            f"In a clone of gflow, `pip install '.[{extra}]'` brings it."
        ) from error


def netcdf() -> ModuleType:
    """The room that writes and reads netCDF files."""
    for library in ("xarray", "h5netcdf", "h5py"):  # it names the first one alone
        need(library, "netcdf")
    return need("gflow._netcdf", "netcdf")
