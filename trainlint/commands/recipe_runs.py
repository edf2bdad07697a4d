"""What ``trainlint recipe`` runs, and what it prints and writes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainlint.commands.output import console, say
from trainlint.errors import UsageError
from trainlint.recipe.settings import Recipe

if TYPE_CHECKING:
    from trainlint.recipe.history import Epoch
    from trainlint.recipe.problem import Problem


__all__ = ["run_ablation", "run_once", "run_search", "run_seeds", "write"]


def _say_epoch(row: Epoch) -> None:
    accuracy = "" if row.val_accuracy is None else f"  accuracy {100 * row.val_accuracy:6.2f} %"
    say(
        f"epoch {row.epoch:3d}  training loss {row.train_loss:.4f}  validation loss {row.val_loss:.4f}{accuracy}  lr {row.lr:.2e}  {row.seconds:.1f} s"
    )


def run_once(problem: Problem, used: Recipe, out: Path, resume: Path | None, *, quiet: bool) -> None:
    """Train once, write history, curves and weights into the folder, print how it went."""
    from trainlint.recipe.drawing import draw_histories
    from trainlint.recipe.ensemble import average_predictions
    from trainlint.recipe.evaluation import evaluate
    from trainlint.recipe.history import sparkline
    from trainlint.recipe.training import train

    pieces = problem(used)
    history = train(
        pieces.model, pieces.train_loader, pieces.val_loader, used, out=out, resume=resume, on_epoch=None if quiet else _say_epoch
    )
    history.save_csv(out / "history.csv")
    write(out / "curves.svg", draw_histories({"run": history}))
    found = evaluate(pieces.model, pieces.val_loader)
    losses, rates = [e.val_loss for e in history.epochs], [e.val_accuracy or 0.0 for e in history.epochs]
    click.echo(f"validation loss      {sparkline(losses)}  {losses[0]:.4f} -> {losses[-1]:.4f}")
    click.echo(f"validation accuracy  {sparkline(rates)}  {100 * rates[0]:.2f} % -> {100 * rates[-1]:.2f} %")
    if history.stopped_early:
        click.echo(f"stopped early after epoch {history.last.epoch}: no improvement for {used.patience} epochs")
    which = f"epoch {history.best.epoch}" if used.keep_best else f"epoch {history.last.epoch}, the last"
    click.echo(f"kept: {which}, accuracy {100 * (found.accuracy or 0):.2f} %, loss {found.loss:.4f}, {history.seconds:.0f} s of training")
    worst = sorted(zip(found.recall(), pieces.classes, strict=True))[:3]
    click.echo("weakest classes: " + ", ".join(f"{name} {100 * share:.1f} %" for share, name in worst))
    if len(history.snapshots) > 1:
        ensemble = average_predictions(pieces.model, history.snapshots, pieces.val_loader)
        alone = ", ".join(f"{100 * a:.2f}" for a in ensemble.accuracies)
        click.echo(f"snapshots: {alone} % alone, {100 * ensemble.accuracy:.2f} % averaged")
    if not quiet:
        say(f"written to {out}: recipe.json, history.csv, curves.svg, last.pt, best.pt")


def run_seeds(problem: Problem, used: Recipe, runs: int, out: Path, *, quiet: bool) -> None:
    """Train with several seeds, print each accuracy and that of their predictions averaged."""
    from trainlint.recipe.drawing import draw_histories
    from trainlint.recipe.ensemble import train_several

    def told(run: int, history: Any) -> None:
        if not quiet:
            say(
                f"seed {used.seed + run}: accuracy {100 * (history.best.val_accuracy or 0):.2f} % at epoch {history.best.epoch}, {history.seconds:.0f} s"
            )

    ensemble, histories, _ = train_several(problem, used, runs, out=out, on_run=told)
    write(out / "curves.svg", draw_histories({f"seed {used.seed + i}": h for i, h in enumerate(histories)}))
    alone = ", ".join(f"{100 * a:.2f}" for a in ensemble.accuracies)
    click.echo(f"{runs} runs: {alone} % alone, {100 * ensemble.accuracy:.2f} % with predictions averaged")


def run_ablation(problem: Problem, used: Recipe, runs: int, out: Path, *, quiet: bool) -> None:
    """Train without each ingredient, print the table and write it as ``ablation.csv``."""
    from trainlint.recipe.ablation import ablate

    def told(trial: Any) -> None:
        if not quiet:
            say(f"{trial.name}: {100 * trial.mean:.2f} %, {trial.seconds:.0f} s a run")

    trials = ablate(problem, used, seeds=runs, on_trial=told)
    columns = ("variant", "accuracy %", "spread", "change", "seconds")
    rows = [
        (t.name, f"{100 * t.mean:.2f}", f"{100 * t.spread:.2f}" if t.spread == t.spread else "-", f"{100 * (t.mean - trials[0].mean):+.2f}" if t is not trials[0] else "-", f"{t.seconds:.1f}")
        for t in trials
    ]  # fmt: skip
    _table(columns, rows, out / "ablation.csv")
    if runs < 3:
        click.echo("one run says little: differences of a few samples come and go with the seed; --runs 3 shows the spread")


def run_search(problem: Problem, used: Recipe, trials: int, out: Path, *, quiet: bool) -> None:
    """Try settings, print the table and the best, write ``search.csv`` and ``search.svg``."""
    from trainlint.recipe.drawing import draw_search
    from trainlint.recipe.search import search

    def told(probe: Any) -> None:
        if not quiet:
            at = " ".join(f"{name}={value:.3g}" for name, value in probe.settings.items())
            reached = "-" if probe.accuracy is None else f"{100 * probe.accuracy:.2f} %"
            say(f"{probe.number + 1}/{trials} {probe.stage}: {at}: {reached} ({probe.outcome} after {probe.epochs})")

    probes = search(problem, used, trials, on_probe=told)
    names = list(probes[0].settings)
    rows = [
        ("-" if p.accuracy is None else f"{100 * p.accuracy:.2f}", *(f"{p.settings[n]:.3g}" for n in names), p.stage, f"{p.outcome}, {p.epochs} epochs")
        for p in probes
    ]  # fmt: skip
    _table(("accuracy %", *names, "stage", "outcome"), rows, out / "search.csv")
    write(out / "search.svg", draw_search(probes))
    best = " ".join(
        f"--set {name}={int(value) if name == 'batch_size' else format(value, '.3g')}" for name, value in probes[0].settings.items()
    )
    click.echo(f"best: {best}")
    click.echo("chosen on these validation images, so a little too good: confirm it with other seeds (--runs 3)")


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], path: Path) -> None:
    import csv
    import io

    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in ("variant", "stage", "outcome") else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console().print(table)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    write(path, text.getvalue())


def write(path: Path, text: str) -> None:
    """Write a file and the folder it lies in.

    Raises:
        UsageError: It could not be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        msg = f"{path} could not be written: {error.strerror or error}"
        raise UsageError(msg) from error
