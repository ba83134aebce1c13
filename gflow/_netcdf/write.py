from pathlib import Path

import xarray as xr

from .._replacing import replacing, require_directory
from .._trajectory import Trajectory
from .dataset import dataset


def save(curve: Trajectory, path: str | Path) -> None:
    """Write a trajectory; the file is complete or as it was, however this ends."""
    path = Path(path)
    require_directory(path, "path")
    if path.is_dir():
        raise ValueError(f"`path` must be a file, but {path} is a directory.")
    write(dataset(curve), path)


def write(content: xr.Dataset, path: Path) -> None:
    """Write a dataset in place of an older one, at once and as a whole."""
    # No fill value: NaN and inf are what they are.
    encoding = {str(key): {"_FillValue": None} for key in content.variables}
    with replacing(path) as part:
        content.to_netcdf(part, engine="h5netcdf", encoding=encoding)


def read(path: Path) -> xr.Dataset:
    """Read a file whole, as it was written."""
    with xr.open_dataset(path, engine="h5netcdf", decode_cf=False) as opened:
        return opened.load()
