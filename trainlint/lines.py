"""Files that lines are appended to from within a user's process, whatever that process does to its descriptors, builtins and disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["LineFile"]

# A script may replace what these names stand for.
_open, _write, _close, _dumps = os.open, os.write, os.close, json.dumps


def _raise(error: OSError) -> None:
    raise error


class LineFile:
    """A file of JSON lines; each is in the file before ``add`` returns.

    It is opened for each line: a descriptor kept open may be closed by the script, and its number given to a file of the script's.
    ``on_error`` is told, once, when nothing more can be written.
    """

    def __init__(self, path: Path, on_error: Callable[[OSError], object] = _raise) -> None:
        self._path = str(path.absolute())
        self._on_error = on_error
        self._failed = False

    def add(self, content: Any) -> None:
        """Write one line."""
        if self._failed:
            return
        data = (_dumps(content) + "\n").encode()
        try:
            opened = _open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                while data:
                    data = data[_write(opened, data) :]
            finally:
                _close(opened)
        except OSError as error:
            self._failed = True
            self._on_error(error)
