"""``trainlint rules`` and ``explain``: the catalogue as a list and as pages."""

from __future__ import annotations

import json
import sys

import click

from trainlint.commands.output import console

__all__ = ["explain", "rules"]


@click.command()
@click.option("--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True)
def rules(style: str) -> None:
    """List every rule with its code, stage and worst severity."""
    from trainlint.registry import load_catalogue

    catalogue = load_catalogue()
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


@click.command()
@click.argument("rule")
@click.option("--format", "style", type=click.Choice(["terminal", "markdown"]), default="terminal", show_default=True)
def explain(rule: str, style: str) -> None:
    """Show the page of RULE, by name or code."""
    from trainlint.registry import load_catalogue

    found = load_catalogue().find(rule)
    page = f"# {found.name} ({found.code})\n\n{found.page()}\n"
    if style == "markdown" or not sys.stdout.isatty():
        click.echo(page, nl=False)
        return
    from rich.markdown import Markdown

    console().print(Markdown(page))
