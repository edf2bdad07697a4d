"""``trainlint config``: the settings that hold, and where each comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from trainlint.config import explained

__all__ = ["config"]


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path), default=Path())
@click.option(
    "--config",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="trainlint.toml or pyproject.toml to read  [default: the nearest].",
)
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
def config(path: Path, file: Path | None, style: str) -> None:
    """Show the settings that hold for PATH, a script or a folder, and where each comes from. Wrong ones are an error."""
    from trainlint.registry import load_catalogue

    entries, settings, _ = explained(path if path.is_dir() else path.parent, file)
    chosen = load_catalogue().choose(settings.select, settings.ignore, settings.options)
    if style == "json":
        click.echo(json.dumps([{"key": key, "value": value, "from": origin} for key, value, origin in entries], indent=2))
        return
    wide = max(len(f"{key} = {_toml(value)}") for key, value, _ in entries)
    for key, value, origin in entries:
        click.echo(f"{f'{key} = {_toml(value)}':{wide}}  # {origin}")
    click.echo(f"\n{len(chosen.rules)} of {len(load_catalogue().rules)} rules run.")


def _toml(value: Any) -> str:
    """The value as it would stand in the file."""
    return "(not set)" if value is None else json.dumps(value)
