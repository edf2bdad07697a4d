"""The report as GitHub workflow commands: printed in a job, each failure is an annotation at its line in the pull request."""

from __future__ import annotations

from trainlint.diffs import is_example
from trainlint.finding import Finding
from trainlint.report import Report

from .phrases import counts, headline, visible

__all__ = ["GithubRenderer"]

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


class GithubRenderer:
    """One command for each failure, worst first: GitHub shows ten errors and ten warnings of a step. The last one sums up."""

    name = "github"
    suffix = ".txt"

    def render(self, report: Report, *, color: bool = False, width: int = 100, verbosity: int = 0) -> str:  # noqa: ARG002
        """All commands, one a line; the options of terminals change nothing."""
        verdict = headline(report)
        ended = report.subject.status != "recorded"
        summary = f"{report.subject.name}: {', '.join(counts(report).values()) or verdict.text}"
        notes = "".join(f"\n{note}" for note in report.subject.notes)
        commands = [_finding(f, report) for f in report.failed]
        commands.append(_command("error" if ended else "notice", {"title": verdict.title}, summary + notes))
        return "".join(f"{command}\n" for command in commands)


def _finding(finding: Finding, report: Report) -> str:
    place = finding.location
    title = f"{finding.code} {finding.name}" + (" (known)" if finding.known else "")
    where = {"file": place.file, "line": str(place.line)} if place else {}
    if place and place.cell is not None:
        where, title = {"file": place.file}, f"{title} (cell {place.cell}, line {place.line})"
    if not where and report.subject.name.endswith((".py", ".ipynb")):
        where = {"file": report.subject.name}
    lines = [finding.message]
    if finding.fix:
        lines += [
            f"Fix: {finding.fix.summary}{' For example:' if is_example(finding.fix.code, finding.fix.diff) else ''}",
            finding.fix.diff or finding.fix.code,
        ]
    kind = "notice" if finding.known else _COMMANDS[finding.severity.value]
    return _command(kind, {**where, "title": title}, "\n".join(filter(None, lines)))


def _command(kind: str, properties: dict[str, str], message: str) -> str:
    """``::error file=train.py,line=3,title=...::message``, escaped as GitHub's runner takes it apart."""
    shown = ",".join(f"{key}={_escaped(value).replace(':', '%3A').replace(',', '%2C')}" for key, value in properties.items())
    return f"::{kind} {shown}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return visible(text).replace("%", "%25").replace("\n", "%0A")
