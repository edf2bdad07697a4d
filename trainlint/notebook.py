"""Jupyter notebooks as scripts: the code cells one after another, each line where it was.

What only IPython understands is left out, or turned into the Python that it stands for; the line keeps its words in a comment,
so that an edited script can be taken apart into cells again.
"""

from __future__ import annotations

import io
import json
import os
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trainlint.errors import UsageError

__all__ = ["Cell", "Notebook", "is_notebook", "read_notebook"]

#: Stands before the words of a line that IPython would have run.
_MARK = "# IPython: "
_HEAD = re.compile(r"^# In\[(\d+)\]:$")
_MARKED = re.compile(rf"^(\s*).*?{_MARK}(.*)$")
_ASSIGNED = re.compile(r"^([\w\s,.\[\]'\"]+)=\s*([!%])(?!=)")
#: Magics whose statement or cell is Python that runs as it stands.
_RUN = frozenset({"time", "timeit", "capture", "prun", "memit", "mprun", "lprun"})
_OPTIONS = re.compile(r"^(?:-\S+(?:\s+\d+)?\s+)*")


@dataclass(frozen=True)
class Cell:
    """A code cell that is not empty."""

    number: int
    """As Jupyter numbers it when all cells are run from the top: ``In [number]``."""
    index: int
    """Its place among all cells of the file, from 0."""
    text: str
    """Its source, turned into Python line by line."""
    first: int
    """Line of the script that holds its first line, from 1."""

    @property
    def lines(self) -> list[str]:
        """Its lines without their ends."""
        return self.text.split("\n")


@dataclass(frozen=True)
class Notebook:
    """A notebook, and the script that its code cells make."""

    path: str
    """As it was named."""
    file: str
    """Whole path."""
    cells: tuple[Cell, ...]
    skipped: tuple[str, ...] = ()
    """What only IPython could have run and was left out, with its place."""

    @cached_property
    def script(self) -> str:
        """The code of all cells, each under a line that gives its number."""
        return "".join(f"# In[{cell.number}]:\n{cell.text}\n" for cell in self.cells)

    def place(self, line: int) -> tuple[int, int]:
        """``(cell, line in the cell)`` of a line of the script."""
        cell = next((c for c in reversed(self.cells) if c.first <= line), self.cells[0])
        return cell.number, max(1, line - cell.first + 1)

    def line(self, cell: int, line: int) -> int:
        """The line of the script for a line of a cell."""
        return next((c.first for c in self.cells if c.number == cell), 1) + line - 1

    def lines(self, cell: int) -> list[str]:
        """The lines of a cell; none when there is no such cell."""
        return next((c.lines for c in self.cells if c.number == cell), [])

    def placed(self, traceback: str) -> str:
        """A traceback through the script with its places by cell."""

        def by_cell(match: re.Match[str]) -> str:
            cell, line = self.place(int(match[1]))
            return f'File "{self.path}", cell {cell}, line {line}'

        return re.sub(rf'File "{re.escape(self.file)}", line (\d+)', by_cell, traceback)

    def taken_apart(self, script: str) -> dict[int, str]:
        """The cells' sources in a script that was edited, in IPython's own words again; empty when they cannot be told apart."""
        parts: dict[int, list[str]] = {}
        current: list[str] | None = None
        for line in script.split("\n")[:-1]:
            if head := _HEAD.match(line):
                current = parts.setdefault(int(head[1]), [])
            elif current is None:
                return {}
            else:
                current.append(_MARKED.sub(r"\1\2", line))
        return {number: "\n".join(lines) for number, lines in parts.items()} if list(parts) == [c.number for c in self.cells] else {}

    @property
    def note(self) -> str:
        """What was skipped, for a report; empty when nothing was."""
        if not self.skipped:
            return ""
        more = f"; and {len(self.skipped) - 8} more" if len(self.skipped) > 8 else ""
        return f"skipped, because only IPython runs it: {'; '.join(self.skipped[:8])}{more}"


def is_notebook(path: str | os.PathLike[str]) -> bool:
    """Whether a file is to be read as a notebook."""
    return os.fspath(path).endswith(".ipynb")


def read_notebook(path: str) -> Notebook:
    """Read a notebook of format 4.

    Raises:
        UsageError: The file cannot be read, is no such notebook, is for another language than Python, or has no code.
    """
    content = _content(path)
    cells: list[Cell] = []
    skipped: list[str] = []
    line = 2  # the first is the first cell's head
    for index, cell in enumerate(content["cells"]):
        text = _source(cell)
        if cell.get("cell_type") != "code" or not text.strip():
            continue
        number = len(cells) + 1
        if "skip-execution" in _tags(cell):
            python = "\n".join(f"{_MARK}{part}" for part in text.split("\n"))
            skipped.append(f"cell {number}: tagged skip-execution")
        else:
            python, left = _python(text)
            skipped += [f"cell {number}, line {at}: {words}" for at, words in left]
        cells.append(Cell(number, index, python, line))
        line += python.count("\n") + 2
    if not cells:
        msg = f"{path}: the notebook has no code cells"
        raise UsageError(msg)
    return Notebook(path, os.path.abspath(path), tuple(cells), tuple(skipped))


def _content(path: str) -> dict[str, Any]:
    try:
        content: Any = json.loads(Path(path).read_bytes())
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}"
        raise UsageError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path} is no notebook: it is not JSON ({error})"
        raise UsageError(msg) from error
    if not isinstance(content, dict) or not isinstance(content.get("nbformat"), int):
        msg = f"{path} is no notebook: it names no nbformat"
        raise UsageError(msg)
    if content["nbformat"] != 4 or not isinstance(content.get("cells"), list):
        msg = (
            f"{path} has notebook format {content['nbformat']}; bring it to format 4 with: jupyter nbconvert --to notebook --inplace {path}"
        )
        raise UsageError(msg)
    if not all(isinstance(cell, dict) for cell in content["cells"]):
        msg = f"{path} is no notebook: a cell of it is no object"
        raise UsageError(msg)
    language = _language(content.get("metadata"))
    if language != "python":
        msg = f"{path} is a notebook for {language}, not for Python"
        raise UsageError(msg)
    return content


def _language(metadata: Any) -> str:
    for part, key in (("language_info", "name"), ("kernelspec", "language")):
        held = metadata.get(part) if isinstance(metadata, dict) else None
        name = held.get(key) if isinstance(held, dict) else None
        if isinstance(name, str):
            return name.lower()
    return "python"


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source", "")
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    return text.replace("\r\n", "\n").removesuffix("\n")


def _tags(cell: dict[str, Any]) -> list[Any]:
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    return tags if isinstance(tags, list) else []


def _python(text: str) -> tuple[str, list[tuple[int, str]]]:
    """A cell as Python with as many lines, and ``(line, words)`` of what was left out."""
    lines = text.split("\n")
    first = next(i for i, line in enumerate(lines) if line.strip())
    if lines[first].startswith("%%"):
        name = lines[first][2:].split(maxsplit=1)[0] if lines[first][2:].strip() else ""
        if name not in _RUN:
            return "\n".join(f"{_MARK}{line}" for line in lines), [(first + 1, lines[first].strip())]
        lines[first] = f"{_MARK}{lines[first]}"
    made: list[str] = []
    left: list[tuple[int, str]] = []
    for number, line, begins in _statements(lines):
        python = _line(line) if begins else None
        if begins and python is not None:
            words = line.lstrip()
            made.append(f"{line.removesuffix(words)}{python}  {_MARK}{words}")
            if python.endswith(("pass", "= []", "= None")):
                left.append((number, line.strip()))
        else:
            made.append(line if begins is not None else f"{_MARK}{line}")
    return "\n".join(made), left


def _statements(lines: list[str]) -> Iterator[tuple[int, str, bool | None]]:
    """``(number, line, whether a statement begins with it)``; None for a line that goes on with what IPython would run."""
    pending: list[str] = []
    continued = False
    for number, line in enumerate(lines, 1):
        if continued:
            yield number, line, None
            continued = line.rstrip().endswith("\\")
            continue
        yield number, line, not pending
        if not pending and _line(line) is not None:
            continued = line.rstrip().endswith("\\")
            continue
        pending.append(line)
        if not _is_open("\n".join(pending)):
            pending.clear()


def _is_open(text: str) -> bool:
    """Whether a statement goes on in the next line: within brackets, a string, or after a backslash."""
    if text.endswith("\\"):
        return True
    try:
        list(tokenize.generate_tokens(io.StringIO(text.lstrip()).readline))
    except tokenize.TokenError as error:
        return "EOF" in str(error)
    except (IndentationError, SyntaxError):
        return False
    return False


def _line(line: str) -> str | None:
    """The Python that stands for a line of IPython's own; None for one that is Python already."""
    text = line.strip()
    if assigned := _ASSIGNED.match(text):
        return f"{assigned[1].rstrip()} = {'[]' if assigned[2] == '!' else 'None'}"
    if text.startswith("%") and not text.startswith("%%"):
        name, _, rest = text[1:].partition(" ")
        rest = rest.strip()
        if name in _RUN and rest:
            return _OPTIONS.sub("", rest) or "pass"
        if name == "cd" and rest:
            return f"__import__('os').chdir(__import__('os').path.expanduser({rest.strip(chr(34) + chr(39))!r}))"
        if name in ("env", "set_env") and re.match(r"\w+[=\s]", rest):
            key, value = re.split(r"[=\s]", rest, maxsplit=1)
            return f"__import__('os').environ[{key!r}] = {value.strip()!r}"
        return "pass"
    if text.startswith(("!", "?")) or re.fullmatch(r"[\w.]+\?{1,2}", text):
        return "pass"
    return None
