"""Fixes as changes to the user's own source: made with libcst, all but the change kept to the byte.

A rule names the change it means (``Fix(edit=Edit(kind="shuffle-loader"))``); :func:`with_diffs` turns that into a unified diff after judging.
A change that cannot be made with certainty is none. :mod:`trainlint.edits.applying` writes files. No torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainlint.finding import Finding
from trainlint.location import Location

if TYPE_CHECKING:
    from trainlint.edits.source import Source

__all__ = ["Made", "make", "with_diffs"]


@dataclass(frozen=True)
class Made:
    """An edit as it would be written, or why there is none."""

    finding: Finding
    source: Source | None = None
    text: str = ""
    """The whole file with the change."""
    safe: bool = False
    reason: str = ""
    """Why no edit could be made."""

    @property
    def diff(self) -> str:
        """The change as a unified diff; of a notebook's cells as they stand in it."""
        return diff_of(self.source, self.text) if self.source is not None else ""


def _place(finding: Finding) -> Location | None:
    edit = finding.fix.edit if finding.fix else None
    return (edit.at if edit else None) or finding.location


def diff_of(source: Source, text: str) -> str:
    """What another text would change in a source, as a unified diff."""
    return "".join(unified(name, before, after) for name, before, after in source.parts(text) if before != after)


def unified(name: str, before: str, after: str) -> str:
    """A unified diff of a file's text, as ``git apply -p0`` and ``patch`` read it."""
    lines = difflib.unified_diff(lines_of(before), lines_of(after), name, name)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def lines_of(text: str) -> list[str]:
    """Lines with their ends, divided at line feeds only, as diff and git do."""
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def make(finding: Finding) -> Made:
    """Make the edit that a failure's fix names, on the file as it is now. Nothing is written."""
    fix, place = finding.fix, _place(finding)
    if not finding.failed or fix is None or fix.edit is None:
        return Made(finding, reason="no edit is known for it; follow its help")
    if place is None:
        return Made(finding, reason="no line of the script is known for it")
    from trainlint.edits.kinds import KINDS
    from trainlint.edits.reading import read_source
    from trainlint.edits.script import Script, Unsure
    from trainlint.edits.source import EditError

    kind = KINDS.get(fix.edit.kind)
    if kind is None:
        return Made(finding, reason=f"the rule names an edit {fix.edit.kind!r}, which this version does not know")
    path = Path(place.file)
    try:
        source = read_source(path)
        lines = lines_of(source.text)
        line = source.line(place)
        if line > len(lines) or (place.text and lines[line - 1].strip() != place.text.strip()):
            return Made(finding, reason=f"{place} is not what was scanned any more")
        script = Script(source.text)
        text = kind.make(script, line, dict(fix.edit.values)).code()
        source.encode(text)
        compile(text, str(path), "exec", dont_inherit=True)
    except Unsure as doubt:
        return Made(finding, reason=f"{place}: {doubt}")
    except EditError as error:
        return Made(finding, reason=f"{place.file}: {error}")
    except (SyntaxError, ValueError, RecursionError) as error:
        return Made(finding, reason=f"{place}: the change would not be Python any more ({error})")
    except Exception as error:  # an edit that breaks is no reason to lose the report
        return Made(finding, reason=f"{place}: the edit itself failed ({type(error).__name__}: {error}); please report it")
    if text == source.text:
        return Made(finding, reason=f"{place}: the change is there already")
    return Made(finding, source=source, text=text, safe=kind.safe)


def with_diffs(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings, each failure's fix with its diff where an edit can be made."""
    return tuple(_with_diff(finding) for finding in findings)


def _with_diff(finding: Finding) -> Finding:
    if not finding.failed or finding.fix is None or finding.fix.edit is None:
        return finding
    made = make(finding)
    return finding if made.source is None else replace(finding, fix=replace(finding.fix, diff=made.diff, safe=made.safe))
