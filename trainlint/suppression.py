"""``# trainlint: ignore[shuffle]`` on a line of the user's code, or alone on the line above, takes back what a rule says about that line."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from trainlint.errors import UsageError
from trainlint.finding import Finding, Outcome
from trainlint.location import Location
from trainlint.notebook import is_notebook, read_notebook

__all__ = ["Suppression", "heard", "suppression_at", "suppressions"]

_NO_CODE = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT})
_COMMENT = re.compile(r"#\s*trainlint:\s*ignore(?:\[([^\]]*)\])?")


@dataclass(frozen=True)
class Suppression:
    """One comment. Without names it takes back every rule."""

    file: str
    line: int
    names: tuple[str, ...] = ()
    cell: int | None = None
    """The notebook's cell that ``line`` counts in."""

    @property
    def location(self) -> Location:
        """Where it stands."""
        return Location(self.file, self.line, cell=self.cell)

    def covers(self, names: Iterable[str]) -> bool:
        """Whether a rule with one of these names (its name and its code) is meant."""
        return not self.names or bool({n.lower() for n in names} & {n.lower() for n in self.names})

    def __str__(self) -> str:
        return f"`# trainlint: ignore{'[' + ', '.join(self.names) + ']' if self.names else ''}` in {self.location}"


def suppressions(path: Path) -> list[Suppression]:
    """All such comments of a file; none when it cannot be read as Python."""
    return [s for s, _ in _read(str(path))]


def suppression_at(location: Location, names: Iterable[str]) -> Suppression | None:
    """The comment on the statement at a place that takes back a rule, if there is one."""
    names = tuple(names)
    here = (s for s, lines in _read(location.file) if s.cell == location.cell and location.line in lines)
    return next((s for s in here if s.covers(names)), None)


def heard(finding: Finding) -> Finding:
    """The finding, or that the user's code takes it back: then it is not run, and ``ignored``."""
    if not finding.failed or finding.location is None:
        return finding
    comment = suppression_at(finding.location, (finding.name, finding.code))
    if comment is None:
        return finding
    return replace(finding, outcome=Outcome.NOT_RUN, ignored=True, reason=f"suppressed by {comment}; it said: {finding.message}")


@lru_cache(maxsize=64)
def _read(file: str) -> list[tuple[Suppression, range]]:
    """Comments, each with the lines of the statement that it stands on."""
    try:
        notebook = read_notebook(file) if is_notebook(file) else None
        source = notebook.script if notebook is not None else Path(file).read_text("utf-8")
        if "trainlint:" not in source:
            return []
        # Statements without statements inside, which may run over several lines.
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
        spans = [
            range(n.lineno, (n.end_lineno or n.lineno) + 1)
            for n in ast.walk(ast.parse(source))
            if isinstance(n, ast.stmt) and not hasattr(n, "body")
        ]
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError, tokenize.TokenError, UsageError):
        return []
    found = []
    for number, token in enumerate(tokens):
        if token.type == tokenize.COMMENT and (match := _COMMENT.search(token.string)):
            line = token.start[0]
            names = tuple(n.strip() for n in (match[1] or "").split(",") if n.strip())
            span = next((s for s in spans if line in s), None)
            if span is None and token.line.lstrip().startswith("#"):
                after = next((t.start[0] for t in tokens[number + 1 :] if t.type not in _NO_CODE), line)
                span = next((s for s in spans if after in s), range(after, after + 1))
            span = span or range(line, line + 1)
            cell, at = notebook.place(line) if notebook is not None else (None, line)
            found.append((Suppression(file, at, names, cell), range(span.start - line + at, span.stop - line + at)))
    return found
