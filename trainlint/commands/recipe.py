"""``trainlint recipe``: train an image model by the reference recipe, take it apart, or search its settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainlint.commands.output import live_progress, say
from trainlint.commands.recipe_runs import run_ablation, run_once, run_search, run_seeds, write
from trainlint.errors import UsageError, first_line
from trainlint.recipe.settings import INGREDIENTS, Recipe

if TYPE_CHECKING:
    import torch

    from trainlint.recipe.problem import Problem

__all__ = ["recipe"]


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--model", default="resnet18", show_default=True, help="A model of timm's.")
@click.option(
    "--model-option", "model_options", multiple=True, metavar="NAME=VALUE", help="An argument of the model, as patch_size=4. Repeatable."
)
@click.option("--size", type=click.IntRange(min=1), help="Side of the images in pixels  [default: the model's own].")
@click.option("--weights", type=click.Path(path_type=Path), help="File with pretrained weights of the model; its head is replaced.")
@click.option(
    "--similar/--different", "similar", default=None, help="Whether DATA is like what the weights were trained on: settles what to train."
)
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the data  [default: 30].")
@click.option("--lr", type=float, help="Peak learning rate  [default: 0.001].")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images a step  [default: 32].")
@click.option("--seed", type=click.IntRange(min=0), help="Of weights, order and augmentation  [default: 0].")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any setting of the recipe, as mixup=0.4 or schedule=onecycle. Repeatable.",
)
@click.option(
    "--without", multiple=True, metavar="INGREDIENT", help="Leave an ingredient out; see docs/recipe.md. Repeatable, commas allowed."
)
@click.option("--full-strength", is_flag=True, help="Do not scale regularisers down for small data.")
@click.option(
    "--runs", type=click.IntRange(min=1), default=1, show_default=True, help="Seeds to train with; predictions of several are averaged."
)
@click.option("--ablate", is_flag=True, help="Train again without each ingredient, --runs times each, and tabulate accuracy and time.")
@click.option("--search", type=click.IntRange(min=2), metavar="N", help="Try N settings of learning rate, decay, dropout and batch size.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("trainlint-recipe"),
    show_default=True,
    help="Folder for results.",
)
@click.option("--resume", type=click.Path(path_type=Path), help="Go on from this last.pt.")
@click.option("--device", help="cpu, cuda ...  [default: a CUDA device if there is one].")
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes that load images.")
@click.option("--no-checks", is_flag=True, help="Skip the checks of model and data before training.")
@click.option("--show", is_flag=True, help="Print the settings and stop.")
@click.option("-q", "--quiet", is_flag=True, help="The result only.")
def recipe(
    data: Path, model: str, model_options: tuple[str, ...], size: int | None, weights: Path | None, similar: bool | None, epochs: int | None,
    lr: float | None, batch_size: int | None, seed: int | None, settings: tuple[str, ...], without: tuple[str, ...], full_strength: bool, runs: int,
    ablate: bool, search: int | None, out: Path, resume: Path | None, device: str | None, workers: int, no_checks: bool, show: bool, quiet: bool,
) -> None:  # fmt: skip
    """Train a timm model on the images in DATA by the reference recipe.

    DATA holds train/CLASS/* and val/CLASS/*, or CLASS/* to be split. Model and data are checked first; then the model is trained, evaluated
    and saved with its curves. Nothing is downloaded.
    """
    if sum((ablate, search is not None, resume is not None)) > 1:
        msg = "--ablate, --search and --resume are three different things: choose one"
        raise UsageError(msg)
    if resume is not None and runs > 1:
        msg = "--resume goes on with one run: leave --runs out"
        raise UsageError(msg)
    _need_timm()
    from trainlint.recipe.data import open_image_folders
    from trainlint.recipe.problem import image_folder_problem

    images = open_image_folders(data)
    samples = len(images.train)  # type: ignore[arg-type]
    base = Recipe()
    if similar is not None:
        from trainlint.recipe.advice import advice

        advised = advice(samples, len(images.classes), similar=similar)
        base = advised.apply(base)
        say(f"advice: {advised.summary} ({advised.reason})")
    chosen = dict(Recipe.parse(text) for text in settings)
    chosen |= {k: v for k, v in {"epochs": epochs, "lr": lr, "batch_size": batch_size, "seed": seed}.items() if v is not None}
    # Scaling goes between: what the user sets is what is used.
    full = base.change(**chosen)
    used = full if full_strength else full.scaled_to(samples).change(**chosen)
    used = used.without(*(name.strip() for names in without for name in names.split(",") if name.strip()))
    if show:
        _show(used)
        return
    problem = image_folder_problem(
        data, model, size=size, weights=weights, model_options=dict(map(_model_option, model_options)), workers=workers
    )
    where = _device(device)
    problem = _on_device(problem, where)
    if not no_checks:
        _check(problem, used, quiet=quiet)
    if not quiet:
        on = [name for name in used.ingredients() if name != "mixed-precision" or where.type == "cuda"]
        say(f"{model} on {samples} images of {len(images.classes)} classes; ingredients: {', '.join(on) or 'none'}")
    out.mkdir(parents=True, exist_ok=True)
    write(out / "recipe.json", _json(used))
    if ablate:
        run_ablation(problem, used, runs, out, quiet=quiet)
    elif search is not None:
        run_search(problem, used, search, out, quiet=quiet)
    elif runs > 1:
        run_seeds(problem, used, runs, out, quiet=quiet)
    else:
        run_once(problem, used, out, resume, quiet=quiet)


def _need_timm() -> None:
    try:
        import timm  # noqa: F401
    except ImportError as error:
        msg = "the recipe takes its ingredients from timm: pip install 'trainlint[recipe]'"
        raise UsageError(msg) from error


def _model_option(text: str) -> tuple[str, Any]:
    import ast

    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        msg = f"--model-option {text!r}: write NAME=VALUE"
        raise UsageError(msg)
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _device(device: str | None) -> torch.device:
    import torch

    try:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError) as error:
        msg = f"--device {device}: {first_line(error)}"
        raise UsageError(msg) from error
    return where


def _on_device(problem: Problem, where: torch.device) -> Problem:
    def build(used: Recipe) -> Any:
        pieces = problem(used)
        pieces.model.to(where)
        return pieces

    return build


def _check(problem: Problem, used: Recipe, *, quiet: bool) -> None:
    """The lab's sanity checks: loss at the start, one batch learnt by heart, gradients everywhere, inputs normalised, no leak."""
    from torch.nn import functional

    from trainlint.checking import check
    from trainlint.finding import Severity
    from trainlint.recipe.optimizers import build_optimizer

    pieces = problem(used.without("auto-augment", "random-crop", "random-erasing").change(hflip=0.0))
    for note in pieces.notes:
        say(f"note: {note}")
    with live_progress(quiet=quiet, shown=sys.stderr.isatty()) as progress:
        progress("checking model and data")
        report = check(
            pieces.model, pieces.train_loader, val_loader=pieces.val_loader, loss_fn=functional.cross_entropy,
            optimizer=build_optimizer(pieces.model, used), budget=60.0, seed=used.seed,
            only=["init-loss", "label-range", "label-mapping", "input-finite", "input-scale", "input-ignored", "split-leak", "overfit-batch", "no-gradient"],
        )  # fmt: skip
    failures = report.at_or_above(Severity.WARNING)
    for finding in failures:
        say(f"check {finding.name}: {finding.message}")
    if report.at_or_above(Severity.ERROR):
        say("training was not begun; --no-checks trains all the same")
        sys.exit(1)
    if not quiet and not failures:
        say("checks passed: loss at the start, labels, inputs, gradients, and one batch learnt by heart")


def _show(used: Recipe) -> None:
    click.echo(_json(used), nl=False)
    off = [name for name in INGREDIENTS if name not in used.ingredients()]
    say(f"on: {', '.join(used.ingredients()) or 'none'}\noff: {', '.join(off) or 'none'}")


def _json(used: Recipe) -> str:
    import json

    return json.dumps(used.to_dict(), indent=2) + "\n"
