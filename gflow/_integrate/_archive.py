"""Files of named arrays that are whole, or refused; NumPy can read them."""

import hashlib
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .._replacing import replacing


def write_whole(path: Path, arrays: dict[str, Any]) -> None:
    """Write arrays; the file is complete or as it was, however the program ends.

    Raises:
        OSError: If it cannot be written.
    """
    arrays = dict(arrays)
    arrays["digest"] = np.array(_digest(arrays))
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())


def read_whole(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file that `write_whole` wrote.

    Raises:
        ValueError: If it is missing, or not as it was written.
    """
    if not path.is_file():
        raise ValueError(
            f"`path` must be a checkpoint file, but {path} does not exist."
        )
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        whole = str(arrays.pop("digest")) == _digest(arrays)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"`path` must be a whole checkpoint that `gflow.solve` wrote, but {path} "
            f"is none, or is damaged ({path.stat().st_size} bytes): {error}"
        ) from error
    if not whole:
        raise ValueError(
            f"`path` must be a whole checkpoint, but {path} is damaged: its digest is "
            "another. Start again, or from a copy."
        )
    return arrays


def _digest(arrays: dict[str, Any]) -> str:
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()
