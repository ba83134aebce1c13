"""The results of a sweep: a dataset, and a file that is complete at any time."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
import xarray as xr

from .._code import fingerprint
from .._described import VERSION, spelled
from .._member import FAILED, Outcome
from .._replacing import require_directory
from .._until import Until
from .write import read, write


KINDS = {"result": "", "message": "", "seconds": np.nan}
"""The variables that every sweep has, and what they are where nothing is known."""


class SweepStore:
    """What is known of the members of a sweep, on disk too if there is a path.

    Attributes:
        dataset: All of it.
        path: The file, or `None`.
    """

    def __init__(
        self,
        over: Mapping[str, Sequence[Any]],
        until: Until,
        options: Mapping[str, Any],
        functions: Mapping[str, Callable[..., Any]],
        path: str | Path | None,
    ):
        self.path = None if path is None else Path(path)
        axes = {name: [_label(value) for value in axis] for name, axis in over.items()}
        shape = tuple(len(axis) for axis in axes.values())
        asked = {"until": until.levels() | {"event": _text(until.event)}}
        asked |= {name: _text(option) for name, option in options.items()}
        blank = {
            name: (list(axes), np.full(shape, fill, object if fill == "" else float))
            for name, fill in KINDS.items()
        }
        self.dataset = xr.Dataset(
            blank,
            coords=axes,
            attrs={
                "title": "a sweep over gradient flows",
                "source": f"gflow {VERSION}",
                "axes": json.dumps(axes),
                "asked": json.dumps(asked, sort_keys=True),
                **{f"code of {n}": fingerprint(f) for n, f in functions.items()},
            },
        )
        if self.path is not None:
            require_directory(self.path, "path")
        if self.path is not None and self.path.exists():
            self.dataset = self._stored(self.path)
        elif self.path is not None:
            self.write()

    def _stored(self, path: Path) -> xr.Dataset:
        try:
            stored = read(path)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"`path` must be a new file or that of this sweep, but {path} is no "
                f"netCDF file, or damaged: {error}"
            ) from error
        for name in ("axes", "asked"):
            mine, other = self.dataset.attrs[name], stored.attrs.get(name)
            if mine != other:
                raise ValueError(
                    f"`path` must be a new file or that of this sweep, but {path} is "
                    f"one of {name} {other}, and this has {mine}."
                )
        for name, mine in self.dataset.attrs.items():
            other = str(stored.attrs.get(name, ""))
            same_python = other.split(" ")[0] == mine.split(" ")[0]
            if name.startswith("code of ") and same_python and mine != other:
                raise ValueError(
                    f"`path` must be a new file or that of this sweep, but {path} was "
                    f"written with another `{name.removeprefix('code of ')}`: its code "
                    "has changed. Use a new file."
                )
        for name, fill in KINDS.items():
            if fill == "":  # of any length
                stored[name] = stored[name].astype(object)
        return stored

    def result(self, member: tuple[int, ...]) -> str:
        """The result of a member; empty if it is not known."""
        return str(self.dataset["result"].values[member])

    def add(self, member: tuple[int, ...], outcome: Outcome) -> None:
        """Note what became of a member."""
        message, result = outcome.message, outcome.result
        wrong = self._misshapen(outcome)
        if wrong:
            result, message = FAILED, wrong
        else:
            for name, value in outcome.values.items():
                if name not in self.dataset:
                    self._make_room(name, value)
                self.dataset[name].values[member] = value
        self.dataset["result"].values[member] = result
        self.dataset["message"].values[member] = message
        self.dataset["seconds"].values[member] = outcome.seconds

    def _misshapen(self, outcome: Outcome) -> str:
        axes = self.dataset["result"].ndim
        for name, value in outcome.values.items():
            if name in KINDS or name in self.dataset.coords:
                return f"ValueError: `record` must not name a value {name!r}."
            if name in self.dataset and self.dataset[name].shape[axes:] != value.shape:
                return (
                    f"ValueError: `record` must return {name!r} in one shape for all "
                    f"members, {self.dataset[name].shape[axes:]}, but gave "
                    f"{value.shape}."
                )
        return ""

    def _make_room(self, name: str, value: np.ndarray) -> None:
        known = self.dataset["result"]
        own = tuple(f"{name}_{axis}" for axis in range(1, value.ndim + 1))
        room = np.full((*known.shape, *value.shape), np.nan)
        self.dataset[name] = ((*known.dims, *own), room)

    def write(self) -> None:
        """Bring the file up to date."""
        if self.path is not None:
            write(self.dataset, self.path)


def _label(value: Any) -> Any:
    """A value of an axis as a coordinate."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, eqx.Module):
        return spelled(value)
    return getattr(value, "__qualname__", None) or repr(value)
