"""Readers of training logs, one file a format. Which one reads a file is decided by what stands in it, never by its name.

A reader is a module with ``FORMAT``, ``matches(head)`` for the first part of the file, and ``read(source, log)``, which adds rows
to a :class:`~trainlint.curves.log.Log`. None unpickles or executes anything.
"""

from __future__ import annotations

import os
from pathlib import Path

from trainlint.curves.errors import LogError
from trainlint.curves.log import Log
from trainlint.curves.readers import document, jsonlines, table, tensorboard, text, yolo
from trainlint.curves.readers.source import Source, open_source

__all__ = ["READERS", "read_log"]

#: Known by their names: a log may hold a whole script or the output of a notebook.
_SCRIPTS = {".py": "script", ".pyw": "script", ".ipynb": "notebook"}
#: In the order in which they are asked; the last takes any text.
READERS = (tensorboard, document, jsonlines, yolo, table, text)


def read_log(path: str | os.PathLike[str]) -> Log:
    """Read a training log of any known format in bounded memory.

    Raises:
        LogError: There is no such file, it is empty or binary, or no numbers were found in it.
    """
    source = open_source(Path(path))
    kind = _SCRIPTS.get(source.path.suffix.lower())
    if kind:
        raise LogError(path, f"it is a {kind}, not the log of a run; `trainlint scan {source.path.name}` runs it")
    log = Log(file=os.fspath(path))
    if not tensorboard.matches(source) and source.is_binary():
        raise LogError(path, "it is binary and no TensorBoard event file; give the log as CSV, JSON or text")
    for reader in READERS:
        if reader.matches(source):
            log.format = reader.FORMAT
            _read(reader.read, source, log)
            break
    if not log.columns:
        said = f"; {log.notes[0]}" if log.notes else f"; its columns hold words: {', '.join(list(log.words)[:20])}" if log.words else ""
        raise LogError(path, f"no numbers were found in it (read as {log.format}){said}")
    if log.thinned() > 1:
        log.notes.append(f"the longest column is thinned to one value in {log.thinned()}")
    return log


def _read(read: object, source: Source, log: Log) -> None:
    try:
        read(source, log)  # type: ignore[operator]
    except (OSError, RecursionError, MemoryError) as error:
        why = {RecursionError: "it is nested too deeply", MemoryError: "it is too large"}.get(
            type(error), getattr(error, "strerror", None) or str(error)
        )
        raise LogError(source.path, f"reading it as {log.format} failed: {why}") from error
