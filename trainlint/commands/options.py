"""Options that commands share, and what they mean together with the project's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from trainlint.config import find_config, read_config
from trainlint.errors import UsageError
from trainlint.finding import Report
from trainlint.settings import FAIL_ON, Settings

__all__ = ["baseline_option", "judging", "marker", "settings_for", "targets_for"]


def judging(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that ends in a report."""
    for option in reversed((
        click.option("--select", multiple=True, metavar="RULE", help="Only these rules, by name, code or code prefix. Repeatable, commas allowed."),
        click.option("--ignore", multiple=True, metavar="RULE", help="Not these rules. Repeatable, commas allowed."),
        click.option("--fail-on", type=click.Choice(FAIL_ON), help="Least severity that makes the exit code 1  [default: error]."),
        click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="pyproject.toml to read  [default: the nearest with a [tool.trainlint]]."),
        click.option("--format", "formats", multiple=True, metavar="FORMAT", help="text, json, html, sarif, junit, github, markdown or an installed one. Repeatable: each with its --output."),
        click.option("--output", "outputs", multiple=True, type=click.Path(path_type=Path), help="File for the format named before it; - for stdout. Alone, its ending names the format."),
        click.option("-q", "--quiet", is_flag=True, help="Failures only, no progress."),
        click.option("-v", "--verbose", is_flag=True, help="Also what passed and what was not run, and the script's own output."),
    )):  # fmt: skip
        command = option(command)
    return command


def baseline_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--baseline``."""
    option = click.option(
        "--baseline",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Known failures, which fail nothing; `trainlint baseline` writes them.",
    )
    return option(command)


def marker(settings: Settings) -> Callable[[Report], Report]:
    """What marks the failures that the settings' baseline knows. The file is read now, so that an error shows before a scan."""
    if not settings.baseline:
        return lambda report: report
    from trainlint.baseline import mark, read_baseline

    baseline = read_baseline(Path(settings.baseline))
    return lambda report: mark(report, baseline)


def _split(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(n.strip() for entry in names for n in entry.split(",") if n.strip())


def settings_for(
    config: Path | None, start: Path, select: tuple[str, ...], ignore: tuple[str, ...], fail_on: str | None, baseline: Path | None = None
) -> Settings:
    """What the project's pyproject.toml says, under what the command line says."""
    found = config or find_config(start)
    settings = read_config(found) if found is not None else Settings()
    return replace(
        settings,
        select=_split(select) or settings.select,
        ignore=(*settings.ignore, *_split(ignore)),
        fail_on=fail_on or settings.fail_on,
        baseline=str(baseline) if baseline is not None else settings.baseline,
    )


def targets_for(formats: tuple[str, ...], outputs: tuple[Path, ...]) -> list[tuple[str, Path]]:
    """Pairs of format and file. A format without a file goes to stdout; a file without a format is written as its ending says.

    Raises:
        UsageError: There is no such format, it is not clear which file is meant for which, or two would go to stdout.
    """
    from trainlint.registry import load_renderers

    known = load_renderers()
    for name in formats:
        if name not in known:
            msg = f"there is no format {name!r}; installed: {', '.join(sorted(known))}"
            raise UsageError(msg)
    names = list(formats) or [next((n for n, r in known.items() if path.name.endswith(r.suffix)), "text") for path in outputs]
    files = list(outputs) or [Path("-") for _ in names]
    if len(files) != len(names):
        msg = "give each --format its own --output (- is stdout)"
        raise UsageError(msg)
    if files.count(Path("-")) > 1:
        msg = "only one report can go to stdout: give each --format an --output"
        raise UsageError(msg)
    return list(zip(names, files, strict=True))
