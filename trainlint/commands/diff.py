"""``trainlint diff``: two saved reports, compared."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from trainlint.commands.output import console
from trainlint.commands.view import read_report
from trainlint.comparison import Change, compare_reports
from trainlint.finding import Finding, Severity
from trainlint.settings import FAIL_ON

__all__ = ["diff"]

_WORDS = {
    "new": ("new", "bold red"),
    "worse": ("worse", "red"),
    "same": ("still fails", "yellow"),
    "better": ("milder", "cyan"),
    "gone": ("not judged now", "dim"),
    "fixed": ("fixed", "green"),
}


@click.command()
@click.argument("before", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("after", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--fail-on",
    type=click.Choice(FAIL_ON),
    default="error",
    show_default=True,
    help="Least severity of a new failure that makes the exit code 1.",
)
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
def diff(before: Path, after: Path, fail_on: str, style: str) -> None:
    """Compare two reports saved as JSON: what is new, what still fails, what is fixed."""
    changes = compare_reports(read_report(before), read_report(after))
    if style == "json":
        click.echo(json.dumps([_plain(c) for c in changes], indent=2))
    else:
        _show(changes)
    new = [c.after for c in changes if c.kind in ("new", "worse") and c.after is not None]
    sys.exit(0 if fail_on == "never" else int(any(f.severity.rank <= Severity(fail_on).rank for f in new)))


def _show(changes: tuple[Change, ...]) -> None:
    if not changes:
        click.echo("Nothing failed in either report.")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "Rule", "Before", "After", "What it says"):
        table.add_column(column, no_wrap=column != "What it says")
    for change in changes:
        word, style = _WORDS[change.kind]
        told = change.after if change.after is not None and change.after.failed else change.before
        message = Text(told.message if told else "")
        table.add_row(Text(word, style), f"{change.code} {change.name}", _state(change.before), _state(change.after), message)
    console().print(table)


def _state(finding: Finding | None) -> str:
    if finding is None:
        return "-"
    return finding.severity.value if finding.failed else finding.outcome.value


def _plain(change: Change) -> dict[str, str | None]:
    told = change.after if change.after is not None and change.after.failed else change.before
    return {
        "kind": change.kind, "code": change.code, "name": change.name, "before": _state(change.before), "after": _state(change.after),
        "message": told.message if told else None,
    }  # fmt: skip
