"""Reads a file of the user's so that it can be edited."""

from __future__ import annotations

import io
import tokenize
from pathlib import Path

from trainlint.edits.cells import read_cells
from trainlint.edits.source import BOM, EditError, Source
from trainlint.notebook import is_notebook

__all__ = ["read_source"]


def read_source(path: Path) -> Source:
    """Read a Python file by its byte-order mark and encoding comment, line ends kept as they are; a notebook as the script of its cells.

    Raises:
        EditError: The file cannot be read, or not be decoded and encoded back to the same bytes.
    """
    if is_notebook(path):
        return read_cells(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise EditError(f"{path} cannot be read: {error.strerror or error}") from error
    bom = raw.startswith(BOM)
    body = raw.removeprefix(BOM)
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(body).readline)
        text = body.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise EditError(f"{path} is not text in its encoding ({error}), so it is left as it is") from error
    source = Source(path, text, encoding, bom)
    if source.encode(text) != raw:
        raise EditError(f"{path}: its encoding ({encoding}) does not give the same bytes back, so it is left as it is")
    return source
