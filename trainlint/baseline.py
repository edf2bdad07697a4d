"""Known failures: a team takes trainlint into an old code base, lives with what is there, and is told only of what is new.

A baseline is a small JSON file under version control. It names each known failure by its rule and by the *text* of the
line at fault, so that it still fits when lines move; measured numbers, which change from run to run, are not in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from trainlint.engine import root_cause
from trainlint.errors import UsageError
from trainlint.finding import Finding, Outcome, Severity
from trainlint.registry import load_catalogue
from trainlint.report import Report

__all__ = ["Baseline", "Known", "anchor", "mark", "read_baseline", "updated", "write_baseline"]

#: Version of the file's shape.
SCHEMA = 1

_JUDGED = (Outcome.PASS, Outcome.FAIL)


@dataclass(frozen=True, kw_only=True)
class Known:
    """One failure that is known."""

    script: str
    """What was scanned: a script's path, a module's or a model's name."""
    code: str
    name: str
    severity: Severity
    """A failure that has become worse than this counts as new."""
    file: str = ""
    """Where the line at fault stands; paths are relative to the baseline's folder."""
    text: str = ""
    """The line itself, or the function around it where the line is not known."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two failures the same one."""
        return self.script, self.code, self.file, self.text

    def __str__(self) -> str:
        return f"{self.name} in {self.file or self.script}"


@dataclass(frozen=True)
class Baseline:
    """The known failures of any number of scripts; paths in it are relative to ``folder``."""

    folder: Path
    known: tuple[Known, ...] = ()


class _File(msgspec.Struct, kw_only=True):
    """The file."""

    schema: int = SCHEMA
    known: list[Known] = []


def anchor(finding: Finding) -> str:
    """What of a finding's place stays when lines move: the line's text without its spacing, else the function, else nothing."""
    place = finding.location
    return "" if place is None else " ".join(place.text.split()) or place.function


def read_baseline(path: Path) -> Baseline:
    """The baseline in a file.

    Raises:
        UsageError: There is no such file, or it is no baseline.
    """
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        msg = f"there is no baseline {path}; `trainlint baseline SCRIPT --output {path}` writes one"
        raise UsageError(msg) from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"{path} is no baseline: {error}; write it again with `trainlint baseline SCRIPT --output {path}`"
        raise UsageError(msg) from error
    if content.schema != SCHEMA:
        msg = f"{path} is a baseline of schema {content.schema}, this version of trainlint reads {SCHEMA}"
        raise UsageError(msg)
    return Baseline(path.parent, tuple(content.known))


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write a file that is easy to review: sorted, one failure after the other.

    Raises:
        UsageError: The file cannot be written.
    """
    known = sorted(baseline.known, key=lambda k: k.key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(_File(known=known)), indent=1) + b"\n")
    except OSError as error:
        msg = f"the baseline could not be written to {path}: {error.strerror or error}"
        raise UsageError(msg) from error


def mark(report: Report, baseline: Baseline) -> Report:
    """The report with the failures that the baseline lists marked as known, and a note on entries that are out of date."""
    entries = {k.key: k for k in baseline.known}
    findings = tuple(replace(f, known=_is_known(f, entries.get(_entry(report, f, baseline.folder).key))) for f in report)
    notes = report.subject.notes
    if stale := _stale(report, baseline):
        names = ", ".join(map(str, stale))
        note = f"The baseline lists what was not found any more: {names}. `trainlint baseline` takes it out."
        notes = (*(n for n in notes if n != note), note)
    new = [f for f in findings if not f.known]
    return replace(
        report,
        subject=replace(report.subject, notes=notes),
        findings=findings,
        start_here=root_cause(new, load_catalogue().explains),
    )


def updated(baseline: Baseline, report: Report) -> Baseline:
    """The baseline with what a report found.

    Entries of other scripts stay, and so do those of rules that could not judge this time (blocked, not run, not selected).
    """
    script = _relative(report.subject.name, baseline.folder)
    judged = {f.code for f in report if f.outcome in _JUDGED}
    kept = (k for k in baseline.known if k.script != script or k.code not in judged)
    found = (_entry(report, f, baseline.folder) for f in report.failed)
    return Baseline(baseline.folder, tuple({k.key: k for k in (*kept, *found)}.values()))


def _is_known(finding: Finding, entry: Known | None) -> bool:
    return finding.failed and entry is not None and finding.severity.rank >= entry.severity.rank


def _stale(report: Report, baseline: Baseline) -> Iterable[Known]:
    """Entries of this script whose rule judged, and did not find them."""
    still = updated(baseline, report).known
    return [k for k in baseline.known if k.key not in {s.key for s in still}]


def _entry(report: Report, finding: Finding, folder: Path) -> Known:
    return Known(
        script=_relative(report.subject.name, folder),
        code=finding.code,
        name=finding.name,
        severity=finding.severity,
        file=_relative(finding.location.file, folder) if finding.location else "",
        text=anchor(finding),
    )


def _relative(name: str, folder: Path) -> str:
    """A file as seen from the baseline's folder, with forward slashes; the name of a module or class stays as it is."""
    name = name.encode("utf-8", "backslashreplace").decode()  # a file name may hold what is not UTF-8
    if not name.endswith(".py"):
        return name
    try:
        return Path(os.path.relpath(name, folder)).as_posix()
    except ValueError:  # another drive
        return Path(name).as_posix()
