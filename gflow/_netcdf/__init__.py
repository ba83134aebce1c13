"""Trajectories as `xarray.Dataset`s and as netCDF files."""

from .dataset import dataset as dataset
from .read import load as load
from .sweep import SweepStore as SweepStore
from .write import save as save
