"""Writing a file completely or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4


@contextmanager
def atomic(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file that takes the place of `path` at the end, or vanishes on an error.

    Parameters
    ----------
    path : path of the file; a symbolic link is followed, and the file keeps its permissions
    mode : {"wb", "w"}
        Text is written as UTF-8.

    Yields
    ------
    The open temporary file, which lies in the folder of the file.

    Raises
    ------
    ValueError
        If there is something at `path` that is not a file.
    OSError
        If the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise ValueError(f"{path} is a folder or a device; give the path of a file.")
    # Only the beginning of the name, because file systems limit a name to 255 bytes.
    temporary = target.with_name(f".{target.name[:24]}.{uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
        if target.exists():
            temporary.chmod(target.stat().st_mode)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
