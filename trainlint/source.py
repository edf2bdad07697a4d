"""Puts lines of the user's own files into a report: those around a finding's place, and a crash's traceback."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

from trainlint.details import Code
from trainlint.errors import UsageError
from trainlint.finding import Finding
from trainlint.location import Location
from trainlint.notebook import is_notebook, read_notebook

__all__ = ["in_context", "lines_around", "traceback_shown"]

#: Lines shown before and after the one at fault.
_AROUND = 2


def in_context(finding: Finding) -> Finding:
    """A failure with the lines around its place; as it is when a detail shows them already, or the file has changed since."""
    place = finding.location
    if not finding.failed or place is None or any(isinstance(d, Code) and d.highlight == place.line for d in finding.details):
        return finding
    lines = lines_around(place)
    if not 1 <= place.line <= len(lines) or lines[place.line - 1].strip() != place.text or not place.text:
        return finding
    first, last = max(1, place.line - _AROUND), min(len(lines), place.line + _AROUND)
    while first < place.line and not lines[first - 1].strip():
        first += 1
    while last > place.line and not lines[last - 1].strip():
        last -= 1
    code = Code(title=str(place), text=dedent("\n".join(lines[first - 1 : last])), first_line=first, highlight=place.line)
    return replace(finding, details=(*finding.details, code))


def traceback_shown(crash: str) -> tuple[Code, ...]:
    """The script's own traceback as a detail; paths are relative to the working directory. Nothing when there is none."""
    if not crash.strip():
        return ()
    return (Code(topic="The crash", title="The script's own traceback", text=crash.strip().replace(os.getcwd() + os.sep, "")),)


def lines_around(place: Location) -> list[str]:
    """The lines of the file, or of the notebook's cell, that a place lies in; none when it cannot be read."""
    try:
        if is_notebook(place.file):
            return read_notebook(place.file).lines(place.cell or 1)
        return Path(place.file).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError, UsageError):
        return []
