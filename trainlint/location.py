"""A place in the user's own code."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Location"]


@dataclass(frozen=True)
class Location:
    """A line of a file. ``file`` is relative to the working directory when it lies below it."""

    file: str
    line: int
    function: str = ""
    text: str = ""
    """The source line, stripped; empty when it could not be read."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"
