"""``trainlint curves``: logs are read, and their curves named by shape."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainlint.commands.options import settings_for
from trainlint.commands.output import console, exit_code, say, width
from trainlint.errors import UsageError
from trainlint.settings import FAIL_ON

if TYPE_CHECKING:
    from trainlint.curves.scaling import Scaling
    from trainlint.measurements import CurveRun, Curves

__all__ = ["curves"]

_LOGS = re.compile(r"\.(csv|tsv|jsonl?|ndjson|txt|log|out)$|tfevents|events\.out", re.IGNORECASE)
_HIDDEN = re.compile(r"^[.]|^(node_modules|__pycache__|site-packages)$")
_STYLES = {
    "diverged": "bold red", "broken": "bold red", "healthy": "green", "still-improving": "blue", "val-better": "blue", "too-short": "dim", "not-a-curve": "dim",
}  # fmt: skip
_SPARK = 60
"""Characters of a curve."""
_MOST_SHOWN = 6
"""Runs of files named one by one that are shown with their curves; more become a table."""
_MOST_FILES = 2000
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--train", default="", metavar="COL", help="Column of the training loss; several to be summed: a+b.")
@click.option("--val", default="", metavar="COL", help="Column of the validation loss.")
@click.option("--metric", default="", metavar="COL", help="Column of the metric.")
@click.option("--lr", default="", metavar="COL", help="Column of the learning rate.")
@click.option(
    "--sizes",
    default="",
    metavar="N,N,…",
    help="Size of each run (parameters, samples, tokens) for the scaling check, in the order of FILES.",
)
@click.option(
    "--format", "style", default="text", show_default=True, help="text, json (the curves' own), or an installed report format such as html."
)
@click.option("--output", type=click.Path(path_type=Path), default=Path("-"), help="File for the format; - for stdout  [default: -].")
@click.option("--html", type=click.Path(path_type=Path), default=None, help="Also write the HTML report, with charts, to this file.")
@click.option("--fail-on", type=click.Choice(FAIL_ON), help="Least severity that makes the exit code 1  [default: error].")
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="pyproject.toml to read  [default: the nearest]."
)
@click.option("-v", "--verbose", is_flag=True, help="Also the numbers each verdict rests on.")
def curves(
    files: tuple[Path, ...], train: str, val: str, metric: str, lr: str, sizes: str, style: str, output: Path, html: Path | None,
    fail_on: str | None, config: Path | None, verbose: bool,
) -> None:  # fmt: skip
    """Read training logs of any maker and name the shape of their curves.

    FILES are logs or folders of logs: CSV, JSON lines, trainer_state.json, Keras histories, TensorBoard event files, plain text … The
    format is found by content. A folder of several runs, or more than a few files, is shown as a table, the most broken first.

    Exit codes: 0 no fault, 1 a run that diverged or never learned (see --fail-on), 2 a file that could not be read.
    """
    from trainlint.curves.report import report_of, to_json
    from trainlint.renderers import load_renderers

    if style not in ("text", "json") and style not in load_renderers():
        raise UsageError(f"there is no format {style!r}; there are: {', '.join(sorted({'text', 'json', *load_renderers()}))}")
    settings = settings_for(config, Path.cwd(), (), (), fail_on)
    logs, problems = _read(files, {"train": train, "val": val, "metric": metric, "lr": lr})
    if not logs:
        raise UsageError("\n".join(problems) or "there are no logs in " + ", ".join(map(str, files)))
    for problem in problems:
        say(f"trainlint: {problem}")
    scaling = _scaling(logs, sizes)
    report = report_of(logs, settings, scaling)
    if style == "json":
        plain = [to_json(log, scaling) for log in logs]
        single = len(files) == 1 and files[0].is_file()
        _write(json.dumps(plain[0] if single else plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n", output)
    elif style == "text" and output == Path("-"):
        _show(logs, scaling, verbose=verbose, folder=any(path.is_dir() for path in files))
    else:
        _write(load_renderers()[style].render(report, width=width(), verbosity=int(verbose)), output)
    if html is not None:
        _write(load_renderers()["html"].render(report), html)
        say(f"html report: {html}")
    sys.exit(2 if problems else exit_code(report, settings.fail_on))


def _read(files: Sequence[Path], columns: dict[str, str]) -> tuple[list[Curves], list[str]]:
    """Every log that can be read, and why others cannot. Of a folder, files that are no logs are passed over."""
    from trainlint.curves.classify import classify
    from trainlint.curves.errors import LogError

    logs, problems = [], []
    alone = len(files) == 1 and not files[0].is_dir()
    for given in files:
        passed_over = 0
        for path in _logs_in(given):
            try:
                found = classify(path, **columns)
            except LogError as error:
                if given.is_dir():
                    passed_over += 1
                else:
                    problems.append(str(error))
                continue
            if all(run.shape == "not-a-curve" for run in found.runs):
                if alone:
                    said = found.runs[0].summary
                    raise LogError(given, f"{said[:1].lower()}{said[1:].rstrip('.')}")
                if given.is_dir():
                    passed_over += 1
                    continue
            logs.append(found)
        if passed_over:
            say(f"{given}: {passed_over} without curves passed over")
    return logs, problems


def _logs_in(path: Path) -> list[Path]:
    """The file itself, or the files of a folder that may be logs."""
    if not path.is_dir():
        return [path]
    found: list[Path] = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not _HIDDEN.search(name))
        found += [Path(folder, name) for name in sorted(names) if _LOGS.search(name) and not name.startswith(".")]
        if len(found) > _MOST_FILES:
            raise UsageError(f"{path} holds more than {_MOST_FILES} files that may be logs; name the folder of the runs")
    return found


def _scaling(logs: Sequence[Curves], sizes: str) -> Scaling | None:
    """The power law through the runs, when their sizes are given."""
    if not sizes:
        return None
    from trainlint.curves.report import label
    from trainlint.curves.scaling import FEWEST, fit_scaling

    try:
        numbers = [float(size) for size in sizes.split(",")]
    except ValueError:
        raise UsageError(f"--sizes takes numbers with commas between them, not {sizes!r}") from None
    runs = [(log, run) for log in logs for run in log.runs]
    if len(numbers) != len(runs):
        raise UsageError(f"--sizes names {len(numbers)} sizes for {len(runs)} runs: {', '.join(label(*pair) for pair in runs)}")
    points = [
        (label(log, run), size, loss) for (log, run), size in zip(runs, numbers, strict=True) if (loss := _final_loss(run)) is not None
    ]
    found = fit_scaling(points)
    if found is None:
        say(f"trainlint: a power law needs {FEWEST} runs of different size with a loss above zero; there are {len(points)} with a loss")
    return found


def _final_loss(run: CurveRun) -> float | None:
    """The lowest validation loss, else the lowest training loss."""
    for chart in run.charts:
        for line in reversed(chart.lines):
            values = [y for y in line.y if math.isfinite(y)]
            if chart.y_label == "loss" and values:
                return min(values)
    return None


def _write(text: str, path: Path) -> None:
    if path == Path("-"):
        click.echo(text, nl=not text.endswith("\n"))
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{path} could not be written: {error.strerror or error}") from error


def _show(logs: Sequence[Curves], scaling: Scaling | None, *, verbose: bool, folder: bool) -> None:
    """Each run with its curves when they are few, one line a run otherwise and of a folder that holds several."""
    from trainlint.curves.report import worst_first

    page = console()
    pairs = worst_first(logs)
    if len(pairs) > (1 if folder else _MOST_SHOWN):
        _table(page, pairs)
    else:
        for log in logs:
            page.print(_text((log.file, "bold"), f"  {log.format}"))
            for run in log.runs:
                _run(page, run, verbose=verbose)
            for note in (*log.notes, *dict.fromkeys(note for run in log.runs for note in run.notes)):
                page.print(_text(("  note  ", "bold"), note))
            page.print()
    if scaling is not None:
        _law(page, scaling)


def _run(page: Any, run: CurveRun, *, verbose: bool) -> None:
    from trainlint.curves.sparkline import Axis, sparklines
    from trainlint.curves.view import place

    page.print(_text("  ", (run.shape, _STYLES.get(run.shape, "bold yellow")), f"  {run.name}" if run.name else ""))
    page.print(_text("  ", run.summary))
    for i, chart in enumerate(run.charts):
        for name, drawn, first, last in sparklines(chart, _SPARK):
            page.print(_text(f"    {name[:14]:14} ", (drawn, "cyan"), f" {first:.4g} → {last:.4g}"), soft_wrap=True)
        for mark in chart.marks if i == 0 else ():
            if mark.x is not None:
                page.print(
                    _text(" " * (19 + Axis.of(chart, _SPARK).at(mark.x)), ("↑", "cyan"), f" {mark.label}, {place(chart.x_label, mark.x)}"),
                    soft_wrap=True,
                )
    if run.shape != "healthy":
        page.print(_text(("  first  ", "bold cyan"), run.first_action))
        page.print(_text(("  not    ", "bold cyan"), run.not_this))
    if run.also:
        page.print(_text(("  signs also of  ", "bold cyan"), ", ".join(run.also)))
    if verbose:
        taken = {key: value for key, value in run.columns.items() if value}
        for key, value in (*taken.items(), *run.evidence.items()):
            page.print(_text((f"    = {key.replace('_', ' ')}: ", "cyan"), f"{value:.5g}" if isinstance(value, float) else str(value)))


def _table(page: Any, pairs: Sequence[tuple[Curves, CurveRun]]) -> None:
    from rich.table import Table

    from trainlint.curves.report import label

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Shape", "Run", "What was seen"):
        table.add_column(column, no_wrap=column == "Shape", overflow="fold")
    for log, run in pairs:
        table.add_row(_text((run.shape, _STYLES.get(run.shape, "bold yellow"))), _text(label(log, run)), _text(run.summary))
    page.print(table)


def _law(page: Any, scaling: Scaling) -> None:
    page.print(
        _text(
            ("Scaling  ", "bold"),
            f"loss = {scaling.factor:.4g} · size^−{scaling.exponent:.3g}; at ten times the largest size it promises {scaling.at(10 * scaling.runs[-1].size):.4g}",
        )
    )
    for run in scaling.runs:
        style = "" if run.verdict == "on the line" else "bold yellow"
        hint = {"far below": ": look for a leak", "far above": ": look for a bug, or tune this run"}.get(run.verdict, "")
        page.print(
            _text(
                f"  size {run.size:g}  loss {run.loss:.4g}, the others' line says {run.predicted:.4g}  ",
                (run.verdict, style),
                hint,
                f"  {run.name}",
            )
        )


def _text(*parts: str | tuple[str, str]) -> Any:
    """Words of one line, some with a style; control characters of a log cannot steer the terminal."""
    from rich.text import Text

    return Text.assemble(*(_safe(part) if isinstance(part, str) else (_safe(part[0]), part[1]) for part in parts))


def _safe(words: str) -> str:
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], words)
