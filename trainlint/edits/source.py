"""A user's source file as text, and how its bytes are made from it."""

from __future__ import annotations

import io
import tokenize
from dataclasses import dataclass
from pathlib import Path

from trainlint.errors import TrainlintError
from trainlint.location import Location
from trainlint.notebook import is_notebook

__all__ = ["EditError", "Source", "read_source"]

_BOM = b"\xef\xbb\xbf"


class EditError(TrainlintError):
    """A file of the user's cannot be edited; the message says why. Nothing was changed."""


@dataclass(frozen=True)
class Source:
    """A file's text, and how its bytes are made from it."""

    path: Path
    text: str
    encoding: str
    bom: bool

    def encode(self, text: str) -> bytes:
        """The bytes of the file with another text.

        Raises:
            EditError: The file's encoding lacks a character of the text.
        """
        try:
            return (_BOM if self.bom else b"") + text.encode(self.encoding)
        except UnicodeEncodeError as error:
            raise EditError(f"{self.path}: its encoding ({self.encoding}) cannot hold the change: {error}") from error

    def line(self, place: Location) -> int:
        """The line of the text that a place names."""
        return place.line

    def parts(self, text: str) -> list[tuple[str, str, str]]:
        """``(name, text as it is, text as it would be)`` of what a diff is made of: the file."""
        return [(str(self.path), self.text, text)]


def read_source(path: Path) -> Source:
    """Read a Python file by its byte-order mark and encoding comment, line ends kept as they are; a notebook as the script of its cells.

    Raises:
        EditError: The file cannot be read, or not be decoded and encoded back to the same bytes.
    """
    if is_notebook(path):
        from trainlint.edits.cells import read_cells

        return read_cells(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise EditError(f"{path} cannot be read: {error.strerror or error}") from error
    bom = raw.startswith(_BOM)
    body = raw.removeprefix(_BOM)
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(body).readline)
        text = body.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise EditError(f"{path} is not text in its encoding ({error}), so it is left as it is") from error
    source = Source(path, text, encoding, bom)
    if source.encode(text) != raw:
        raise EditError(f"{path}: its encoding ({encoding}) does not give the same bytes back, so it is left as it is")
    return source
