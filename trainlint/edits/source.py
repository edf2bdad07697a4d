"""A user's source file as text, and how its bytes are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainlint.errors import TrainlintError
from trainlint.location import Location

__all__ = ["BOM", "EditError", "Source"]

BOM = b"\xef\xbb\xbf"


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
            return (BOM if self.bom else b"") + text.encode(self.encoding)
        except UnicodeEncodeError as error:
            raise EditError(f"{self.path}: its encoding ({self.encoding}) cannot hold the change: {error}") from error

    def line(self, place: Location) -> int:
        """The line of the text that a place names."""
        return place.line

    def parts(self, text: str) -> list[tuple[str, str, str]]:
        """``(name, text as it is, text as it would be)`` of what a diff is made of: the file."""
        return [(str(self.path), self.text, text)]
