"""Options that commands share, and what they mean together with the project's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from trainlint.config import find_config, read_config
from trainlint.errors import UsageError
from trainlint.settings import FAIL_ON, Settings

__all__ = ["judging", "settings_for", "targets_for"]


def judging(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that ends in a report."""
    for option in reversed((
        click.option("--select", multiple=True, metavar="RULE", help="Only these rules, by name, code or code prefix. Repeatable, commas allowed."),
        click.option("--ignore", multiple=True, metavar="RULE", help="Not these rules. Repeatable, commas allowed."),
        click.option("--fail-on", type=click.Choice(FAIL_ON), help="Least severity that makes the exit code 1  [default: error]."),
        click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="pyproject.toml to read  [default: the nearest with a [tool.trainlint]]."),
        click.option("--format", "formats", multiple=True, metavar="FORMAT", help="text, json, html or an installed one. Repeatable: each with its --output."),
        click.option("--output", "outputs", multiple=True, type=click.Path(path_type=Path), help="File for the format named before it; - for stdout."),
        click.option("-q", "--quiet", is_flag=True, help="Failures only, no progress."),
        click.option("-v", "--verbose", is_flag=True, help="Also what passed and what was not run, and the script's own output."),
    )):  # fmt: skip
        command = option(command)
    return command


def _split(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(n.strip() for entry in names for n in entry.split(",") if n.strip())


def settings_for(config: Path | None, start: Path, select: tuple[str, ...], ignore: tuple[str, ...], fail_on: str | None) -> Settings:
    """What the project's pyproject.toml says, under what the command line says."""
    found = config or find_config(start)
    settings = read_config(found) if found is not None else Settings()
    return replace(
        settings,
        select=_split(select) or settings.select,
        ignore=(*settings.ignore, *_split(ignore)),
        fail_on=fail_on or settings.fail_on,
    )


def targets_for(formats: tuple[str, ...], outputs: tuple[Path, ...]) -> list[tuple[str, Path]]:
    """Pairs of format and file. A format without a file goes to stdout."""
    from trainlint.registry import load_renderers

    known = load_renderers()
    for name in formats:
        if name not in known:
            msg = f"there is no format {name!r}; installed: {', '.join(sorted(known))}"
            raise UsageError(msg)
    if len(outputs) > max(len(formats), 1):
        msg = "each --output needs its --format before it"
        raise UsageError(msg)
    names = list(formats)
    if outputs and not names:
        suffix = outputs[0].suffix
        names = [next((n for n, r in known.items() if r.suffix == suffix), "text")]
    return [(name, outputs[i] if i < len(outputs) else Path("-")) for i, name in enumerate(names)]
