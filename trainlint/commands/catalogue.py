"""``trainlint rules`` and ``explain``: the catalogue as a list and as pages."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainlint.commands.output import console, say, width
from trainlint.errors import UsageError

if TYPE_CHECKING:
    from trainlint.registry import Catalogue

__all__ = ["explain", "rules"]


@click.command()
@click.option("--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--html", type=click.Path(file_okay=False, path_type=Path), help="Write the catalogue as web pages to this folder instead.")
@click.option(
    "--markdown", type=click.Path(file_okay=False, path_type=Path), help="Write the catalogue as Markdown pages to this folder instead."
)
def rules(style: str, html: Path | None, markdown: Path | None) -> None:
    """List every rule with its code, stage and worst severity, or write their pages."""
    from trainlint.registry import load_catalogue

    catalogue = load_catalogue()
    if html or markdown:
        for kind, folder in (("html", html), ("markdown", markdown)):
            if folder:
                _write_pages(kind, folder, catalogue)
        return
    if style == "json":
        listed = [
            {"code": r.code, "name": r.name, "stage": int(r.stage), "severity": r.severity.value, "summary": r.summary, "source": r.source}
            for r in catalogue.rules
        ]
        click.echo(json.dumps(listed, indent=2))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Code", "Name", "Stage", "Worst", "What holds when it passes"):
        table.add_column(column, no_wrap=column in ("Code", "Name"))
    for rule in sorted(catalogue.rules, key=lambda r: r.code):
        table.add_row(rule.code, rule.name, rule.stage.title, rule.severity.value, rule.summary)
    console().print(table)


def _write_pages(kind: str, folder: Path, catalogue: Catalogue) -> None:
    from trainlint.registry import load_page_makers

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in load_page_makers()[kind].pages(catalogue):
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        msg = f"the pages could not be written to {folder}: {error.strerror or error}"
        raise UsageError(msg) from error
    say(f"{len(catalogue.rules)} rules: {folder}")


@click.command()
@click.argument("rule")
@click.option("--format", "style", type=click.Choice(["terminal", "markdown"]), default="terminal", show_default=True)
def explain(rule: str, style: str) -> None:
    """Show the page of RULE, by name or code."""
    from trainlint.registry import load_catalogue

    found = load_catalogue().find(rule)
    if style == "markdown" or not sys.stdout.isatty():
        click.echo(f"# {found.name} ({found.code})\n\n{found.page()}\n", nl=False)
        return
    from rich.markdown import Markdown
    from rich.text import Text
    from rich.theme import Theme

    # Standard colours follow the reader's own terminal theme.
    plain = {"markdown.h2": "bold cyan", "markdown.code": "cyan", "markdown.link": "blue underline", "markdown.item.bullet": "dim"}
    screen = console()
    screen.push_theme(Theme(plain))
    worst = (found.severity.value, {"error": "bold red", "warning": "bold yellow", "note": "bold blue"}[found.severity.value])
    facts = (f"  {found.code} · stage {int(found.stage)}, {found.stage.title.lower()} · at worst ", "dim")
    screen.print(Text.assemble((found.name, "bold"), facts, worst), end="\n\n")
    screen.print(Markdown(found.page(), code_theme="ansi_dark"), width=min(width(), 100))
