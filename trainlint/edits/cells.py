"""A notebook as a source that can be edited: a script of its cells, taken apart into the file again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainlint.edits.source import EditError, Source
from trainlint.errors import UsageError
from trainlint.location import Location
from trainlint.notebook import Notebook, read_notebook

__all__ = ["CellSource", "read_cells"]

#: How notebooks are written: (indent, characters beyond ASCII as codes, what ends the file); Jupyter's own way first.
_LAYOUTS = tuple((indent, ascii_only, end) for indent in (1, 2, 4, None) for ascii_only in (False, True) for end in ("\n", ""))


@dataclass(frozen=True)
class CellSource(Source):
    """The script that a notebook's cells make."""

    notebook: Notebook
    content: dict[str, Any]
    """The file as it is."""
    layout: tuple[int | None, bool, str] = _LAYOUTS[0]

    def encode(self, text: str) -> bytes:
        """The bytes of the notebook with the cells of another script.

        Raises:
            EditError: The script cannot be taken apart into the notebook's cells.
        """
        cells = self._cells(text)
        content = {**self.content, "cells": list(self.content["cells"])}
        for cell in self.notebook.cells:
            held = content["cells"][cell.index]
            source = cells[cell.number]
            written = source.splitlines(keepends=True) if isinstance(held["source"], list) else source
            content["cells"][cell.index] = {**held, "source": written}
        indent, ascii_only, end = self.layout
        return (json.dumps(content, indent=indent, ensure_ascii=ascii_only) + end).encode(self.encoding)

    def line(self, place: Location) -> int:
        """The line of the script that a place names."""
        return self.notebook.line(place.cell, place.line) if place.cell is not None else place.line

    def parts(self, text: str) -> list[tuple[str, str, str]]:
        """The cells, each as ``(name, source as it is, source as it would be)``."""
        before, after = self._cells(self.text), self._cells(text)
        return [(f"{self.path} cell {number}", before[number] + "\n", after[number] + "\n") for number in before]

    def _cells(self, text: str) -> dict[int, str]:
        cells = self.notebook.taken_apart(text)
        if not cells:
            raise EditError(f"{self.path}: the change does not keep to the cells; make it by hand")
        return cells


def read_cells(path: Path) -> CellSource:
    """Read a notebook for an edit.

    Raises:
        EditError: It cannot be read, or would not be written back to the same bytes.
    """
    try:
        raw = path.read_bytes()
        content = json.loads(raw)
        notebook = read_notebook(str(path))
    except (OSError, ValueError, UsageError) as error:
        raise EditError(f"{path} cannot be read as a notebook: {error}") from error
    for layout in _LAYOUTS:
        source = CellSource(path, notebook.script, "utf-8", bom=False, notebook=notebook, content=content, layout=layout)
        if source.encode(notebook.script) == raw:
            return source
    raise EditError(f"{path} is not laid out as notebooks are written, so it is left as it is; make the change by hand")
