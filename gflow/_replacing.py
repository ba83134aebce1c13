"""Files that are whole: as they were, or as they are to be."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def require_directory(path: Path, name: str) -> None:
    """Refuse a path that no file can have.

    Raises:
        ValueError: If it lies in no directory; the message names the argument.
    """
    if not path.parent.is_dir():
        raise ValueError(
            f"`{name}` must lie in a directory, but {path.parent} is none. Make it "
            "first."
        )


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what is to stand at a path once it is written whole.

    However this ends, the file is complete or as it was.
    """
    # No `tempfile`, whose files none but their owner can read.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
