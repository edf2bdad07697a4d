"""``trainlint scan --diff`` and ``--fix``: shows edits, and makes them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from trainlint.commands.output import say
from trainlint.errors import UsageError
from trainlint.finding import Severity
from trainlint.report import Report

__all__ = ["check_clean", "fix", "fixing", "show_diffs", "summary"]


def fixing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that can edit the scanned script."""
    for option in reversed((
        click.option("--diff", "diff", is_flag=True, help="Print each fix as a unified diff in place of the report; change nothing."),
        click.option("--fix", "fix", is_flag=True, help="Apply the safe fixes to the script, after asking, and scan it again."),
        click.option("--unsafe-fixes", is_flag=True, help="With --fix: also the fixes of errors and warnings that are to be reviewed."),
        click.option("--yes", is_flag=True, help="With --fix: do not ask."),
        click.option("--allow-dirty", is_flag=True, help="With --fix: although git has changes that are not committed."),
    )):  # fmt: skip
        command = option(command)
    return command


def show_diffs(report: Report) -> None:
    """Each failure's edit to stdout, under a line that says what it is; to stderr what has none."""
    from trainlint.edits import make

    shown = 0
    for finding in report.failed:
        made = make(finding)
        head = f"{finding.code} {finding.name} ({finding.severity.value})"
        if made.source is None or finding.fix is None:
            say(f"{head}: no edit: {made.reason}")
            continue
        shown += 1
        click.echo(f"# {head}, {'safe' if made.safe else 'to be reviewed'}: {finding.fix.summary}\n{made.diff}")
    if not shown:
        say("there is nothing to edit" if not report.failed else "no fix of this report is an edit of the source")


def check_clean(script: Path, *, allow_dirty: bool) -> None:
    """Raise before the scan where its fixes could not be applied after it.

    Raises:
        UsageError: Git has changes that are not committed.
    """
    from trainlint.edits.applying import check, project_root
    from trainlint.edits.source import EditError

    try:
        check((), project_root(script), allow_dirty=allow_dirty)
    except EditError as error:
        raise UsageError(f"{error}. Nothing was scanned") from error


def fix(report: Report, script: Path, rescan: Callable[[], Report], *, unsafe: bool, yes: bool, allow_dirty: bool) -> Report | None:
    """Apply the edits of a report and scan again; None when nothing was to be changed, or the user said no.

    Raises:
        UsageError: The files may not be edited, or nobody can be asked.
    """
    from trainlint.edits.applying import check, plan, project_root, restore, write
    from trainlint.edits.source import EditError
    from trainlint.registry import load_catalogue
    from trainlint.scanning import ScanError

    planned = plan(report, unsafe=unsafe, explains=dict(load_catalogue().explains))
    for finding, reason in planned.left:
        say(f"not applied: {finding.code} {finding.name} ({finding.severity.value}): {reason}")
    if not planned.chosen:
        say("nothing to apply")
        return None
    click.echo(planned.diff, nl=False)
    for made in planned.chosen:
        words = made.finding.fix.summary if made.finding.fix else ""
        say(f"to apply: {made.finding.code} {made.finding.name}, {'safe' if made.safe else 'to be reviewed'}: {words}")
    try:
        check(planned.files, project_root(script), allow_dirty=allow_dirty)
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError("there is no terminal to ask at; pass --yes to apply the fixes without a question. Nothing was changed")
            if not click.confirm(f"Change {', '.join(map(str, planned.files))}?", err=True):
                say("nothing was changed")
                return None
        before = write(planned)
    except EditError as error:
        raise UsageError(f"{error}. Nothing was changed" if "hing was" not in str(error) else str(error)) from error
    say(f"changed: {', '.join(map(str, planned.files))}; scanning again")
    try:
        return rescan()
    except (ScanError, KeyboardInterrupt) as error:
        restore(before)
        raise UsageError(f"the edited script does not run to its end as the original did, so the files were put back: {error}") from error


def summary(before: Report, after: Report) -> str:
    """Both results in a few lines: what is gone, what is left, what is new."""
    was, now = ({f.name for f in r.failed} for r in (before, after))
    lines = [f"before: {_counts(before)}; after: {_counts(after)}"]
    for word, names in (("gone", was - now), ("still failing", was & now), ("new", now - was)):
        if names:
            lines.append(f"{word}: {', '.join(sorted(names))}")
    return "\n".join(lines)


def _counts(report: Report) -> str:
    counts = {s: sum(f.severity is s for f in report.failed) for s in Severity}
    return ", ".join(f"{n} {s.value}{'s' if n != 1 else ''}" for s, n in counts.items() if n) or "nothing failed"
