"""``trainlint view``: a saved report in another format."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from trainlint.commands.options import baseline_option, marker, settings_for, targets_for
from trainlint.commands.output import deliver, exit_code
from trainlint.report import Report
from trainlint.settings import FAIL_ON

__all__ = ["read_report", "view"]


@click.command()
@click.argument("report", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "formats", multiple=True, metavar="FORMAT", help="text, json, html, sarif, junit, github, markdown or an installed one. Repeatable: each with its --output.")  # fmt: skip
@click.option("--output", "outputs", multiple=True, type=click.Path(path_type=Path), help="File for the format named before it; - for stdout. Without one, its ending names the format.")  # fmt: skip
@click.option("--fail-on", type=click.Choice(FAIL_ON), help="Least severity that makes the exit code 1  [default: it is always 0].")
@click.option("-q", "--quiet", is_flag=True, help="Failures only.")
@click.option("-v", "--verbose", is_flag=True, help="Also what passed and what was not run.")
@baseline_option
def view(
    report: Path,
    formats: tuple[str, ...],
    outputs: tuple[Path, ...],
    fail_on: str | None,
    quiet: bool,
    verbose: bool,
    baseline: Path | None,
) -> None:
    """Show REPORT, saved with `--format json`, again: in the terminal, or in any format."""
    targets = targets_for(formats, outputs)
    shown = read_report(report)
    if baseline is not None:
        shown = marker(settings_for(None, Path.cwd(), (), (), fail_on, baseline))(shown)
    if fail_on is not None:
        shown = replace(shown, fail_on=fail_on)
    deliver(shown, targets, quiet=quiet, verbose=verbose)
    sys.exit(exit_code(shown, fail_on or "never"))


def read_report(path: Path) -> Report:
    """The report in a JSON file.

    Raises:
        UsageError: The file cannot be read, or holds no report.
    """
    from trainlint.errors import UsageError
    from trainlint.serialise import from_json

    try:
        return from_json(path.read_bytes())
    except (OSError, UsageError) as error:
        msg = f"{path}: {error}"
        raise UsageError(msg) from error
