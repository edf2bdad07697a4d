"""``trainlint baseline``: writes down what is known, so that later scans fail on new findings only."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from trainlint.commands.options import ScriptCommand, settings_for
from trainlint.commands.output import live_progress, say
from trainlint.config import seconds
from trainlint.report import Report

__all__ = ["baseline"]

_DEFAULT = "trainlint-baseline.json"


@click.command(cls=ScriptCommand)
@click.argument("source")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("-m", "module", is_flag=True, help="SOURCE is a module name, as after `python -m`.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help=f"The baseline  [default: the project's, else {_DEFAULT}].")
@click.option("--select", multiple=True, metavar="RULE", help="Only these rules; what is known of others stays.")
@click.option("--ignore", multiple=True, metavar="RULE", help="Not these rules.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="pyproject.toml to read.")
@click.option("--budget", type=str, help="Time for recording and measuring, as 60s or 2m.")
def baseline(
    source: str, args: tuple[str, ...], module: bool, output: Path | None, select: tuple[str, ...], ignore: tuple[str, ...],
    config: Path | None, budget: str | None,
) -> None:  # fmt: skip
    """Take what is wrong with SOURCE now as known: later scans with `--baseline` fail on new findings only.

    SOURCE is a training script, which is scanned with its own arguments after `--`, or a report saved with `--format json`. A
    baseline that exists is brought up to date: what was mended is taken out, what is known of other scripts stays.
    """
    from trainlint.baseline import Baseline, read_baseline, updated, write_baseline

    # Whether a fix helps is not asked here.
    settings = replace(settings_for(config, Path.cwd() if module else Path(source).parent, select, ignore, None), prove=False)
    if budget is not None:
        settings = replace(settings, budget=seconds(budget, "--budget"))
    path = output or Path(settings.baseline or _DEFAULT)
    before = read_baseline(path) if path.exists() else Baseline(path.parent)
    if source.endswith(".json") and not module:
        from trainlint.commands.view import read_report

        report = read_report(Path(source))
    else:
        from trainlint.scanning import scan

        with live_progress(quiet=False, shown=sys.stderr.isatty()) as progress:
            report = scan(source, args, settings=settings, module=module, progress=progress)
    after = updated(before, report)
    write_baseline(path, after)
    _tell(report, path, {k.key: str(k) for k in before.known}, {k.key: str(k) for k in after.known})


def _tell(report: Report, path: Path, before: dict[tuple[str, ...], str], after: dict[tuple[str, ...], str]) -> None:
    added = [name for key, name in after.items() if key not in before]
    gone = [name for key, name in before.items() if key not in after]
    for sign, names in (("+", added), ("-", gone)):
        for name in names:
            say(f"  {sign} {name}")
    say(f"{path}: {len(after)} known ({len(added)} added, {len(gone)} taken out) after looking at {report.subject.name}")
