"""A place in the user's own code."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Location"]


@dataclass(frozen=True)
class Location:
    """A line of a file, or of a notebook's cell. ``file`` is relative to the working directory when it lies below it."""

    file: str
    line: int
    function: str = ""
    text: str = ""
    """The source line, stripped; empty when it could not be read."""
    cell: int | None = None
    """The code cell that ``line`` counts in, as Jupyter numbers it when all are run from the top; None in a script."""

    @property
    def container(self) -> str:
        """What the line counts in: the file, or the cell of a notebook."""
        return self.file if self.cell is None else f"{self.file} cell {self.cell}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.cell is None else f"{self.container}, line {self.line}"
