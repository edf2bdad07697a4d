"""Averaged predictions: of several runs, or of one run's snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainlint.errors import UsageError
from trainlint.recipe.evaluation import evaluate
from trainlint.recipe.history import History
from trainlint.recipe.problem import Pieces, Problem
from trainlint.recipe.settings import Recipe
from trainlint.recipe.training import train

__all__ = ["Ensemble", "average_predictions", "train_several"]


@dataclass(frozen=True)
class Ensemble:
    """Models that vote, each by its class probabilities."""

    accuracies: tuple[float, ...]
    """Of each member alone."""
    accuracy: float
    """Of the mean of their probabilities."""
    probabilities: Tensor
    """(N, C), in the loader's order."""


def average_predictions(model: nn.Module, states: Sequence[Mapping[str, Tensor]], loader: Iterable[Any]) -> Ensemble:
    """Evaluate one architecture under several state dicts; the model's own weights are put back.

    For the snapshots of a cyclic schedule: ``average_predictions(model, history.snapshots, val_loader)``.
    """
    if not states:
        msg = "there are no snapshots to average: they are kept with schedule='cyclic'"
        raise UsageError(msg)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    members = []
    try:
        for state in states:
            model.load_state_dict(state)
            members.append(evaluate(model, loader))
    finally:
        model.load_state_dict(own)
    probabilities = torch.stack([m.outputs.softmax(1) for m in members]).mean(0)
    targets = members[0].targets
    accuracy = float((probabilities.argmax(1) == targets).float().mean())
    return Ensemble(tuple(m.accuracy or 0.0 for m in members), accuracy, probabilities)


def train_several(
    problem: Problem, recipe: Recipe, runs: int, *, out: Path | None = None, on_run: Callable[[int, History], None] | None = None
) -> tuple[Ensemble, list[History], Pieces]:
    """Train ``runs`` times with the seeds ``recipe.seed``, ``recipe.seed + 1`` ... and average their predictions.

    The validation loader must keep its order. Returns the last run's pieces too.
    """
    if runs < 1:
        msg = f"{runs} runs are none"
        raise UsageError(msg)
    histories, states = [], []
    for run in range(runs):
        seeded = recipe.change(seed=recipe.seed + run)
        pieces = problem(seeded)
        history = train(
            pieces.model, pieces.train_loader, pieces.val_loader, seeded, out=None if out is None else out / f"seed-{seeded.seed}"
        )
        histories.append(history)
        states.append({name: value.cpu().clone() for name, value in pieces.model.state_dict().items()})
        if on_run is not None:
            on_run(run, history)
    return average_predictions(pieces.model, states, pieces.val_loader), histories, pieces
