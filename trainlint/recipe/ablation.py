"""What each ingredient is worth: the recipe again with one of them left out."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainlint.errors import DivergedError, UsageError
from trainlint.recipe.history import History
from trainlint.recipe.problem import Problem
from trainlint.recipe.settings import Recipe
from trainlint.recipe.training import train

__all__ = ["Trial", "ablate", "compare"]


@dataclass(frozen=True)
class Trial:
    """One variant of a recipe, over one or more seeds."""

    name: str
    recipe: Recipe
    histories: tuple[History, ...]
    """One for each seed that did not diverge."""
    diverged: int = 0

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Validation accuracy that each run hands back: of its best epoch, or its last without ``keep_best``."""
        return tuple((h.best if self.recipe.keep_best else h.last).val_accuracy or 0.0 for h in self.histories)

    @property
    def mean(self) -> float:
        """Of the accuracies; NaN when all runs diverged."""
        return statistics.fmean(self.accuracies) if self.histories else float("nan")

    @property
    def spread(self) -> float:
        """Sample standard deviation of the accuracies; NaN for fewer than two."""
        return statistics.stdev(self.accuracies) if len(self.histories) > 1 else float("nan")

    @property
    def seconds(self) -> float:
        """Mean time of a run."""
        return statistics.fmean(h.seconds for h in self.histories) if self.histories else float("nan")


def compare(
    problem: Problem, recipes: dict[str, Recipe], *, seeds: int = 1, on_trial: Callable[[Trial], None] | None = None
) -> list[Trial]:
    """Train each recipe with ``seeds`` seeds, from the recipe's own upwards; the same ones for all."""
    trials = []
    for name, recipe in recipes.items():
        histories, diverged = [], 0
        for seed in range(recipe.seed, recipe.seed + seeds):
            seeded = recipe.change(seed=seed)
            pieces = problem(seeded)
            try:
                histories.append(train(pieces.model, pieces.train_loader, pieces.val_loader, seeded))
            except DivergedError:
                diverged += 1
        trials.append(Trial(name, recipe, tuple(histories), diverged))
        if on_trial is not None:
            on_trial(trials[-1])
    return trials


def ablate(
    problem: Problem,
    recipe: Recipe,
    *,
    ingredients: Sequence[str] = (),
    seeds: int = 1,
    on_trial: Callable[[Trial], None] | None = None,
) -> list[Trial]:
    """The full recipe, then the recipe without each ingredient.

    Args:
        problem: Builds model and loaders.
        recipe: The recipe with everything that is to be tried.
        ingredients: What to leave out, one at a time; by default all that are on. ``best-checkpoint`` and ``early-stopping`` choose
            among epochs instead of changing them, and are left out only when named.
        seeds: Runs of each variant.
        on_trial: Called after each variant.
    """
    choosing = {"best-checkpoint", "early-stopping", "mixed-precision"}
    names = tuple(ingredients) or tuple(name for name in recipe.ingredients() if name not in choosing)
    if off := [name for name in names if recipe.without(name) == recipe]:
        msg = f"{', '.join(off)}: not part of this recipe, so there is nothing to leave out"
        raise UsageError(msg)
    variants = {"full recipe": recipe, **{f"without {name}": recipe.without(name) for name in names}}
    return compare(problem, variants, seeds=seeds, on_trial=on_trial)
