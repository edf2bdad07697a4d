"""Coarse-to-fine random search over the settings that matter most, giving up early on hopeless runs. Needs Optuna (extra ``search``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainlint.errors import DivergedError, UsageError
from trainlint.recipe.history import Epoch, History
from trainlint.recipe.problem import Problem
from trainlint.recipe.settings import Recipe
from trainlint.recipe.training import train

if TYPE_CHECKING:
    import optuna

__all__ = ["SPACE", "Probe", "Range", "search"]


@dataclass(frozen=True)
class Range:
    """Values to draw from."""

    low: float
    high: float
    log: bool = False
    power_of_two: bool = False

    def around(self, values: Sequence[float]) -> Range:
        """The part that good values span, widened by a quarter of its width, at least an eighth of this range, to both sides."""
        scale, back = (math.log, math.exp) if self.log else (float, float)
        low, high, least, most = scale(min(values)), scale(max(values)), scale(self.low), scale(self.high)
        room = max((high - low) / 4, (most - least) / 16)
        return Range(back(max(low - room, least)), back(min(high + room, most)), self.log, self.power_of_two)

    def draw(self, trial: optuna.Trial, name: str) -> float:
        """A value from the range."""
        if self.power_of_two:
            low, high = math.floor(math.log2(self.low) + 0.5), math.floor(math.log2(self.high) + 0.5)
            return float(2 ** trial.suggest_int(f"log2 {name}", low, max(low, high)))
        return trial.suggest_float(name, self.low, self.high, log=self.log)


#: Where the coarse half of the search draws from.
SPACE: Mapping[str, Range] = {
    "lr": Range(1e-4, 1e-2, log=True),
    "weight_decay": Range(1e-4, 0.3, log=True),
    "dropout": Range(0.0, 0.5),
    "batch_size": Range(16, 128, log=True, power_of_two=True),
}


@dataclass(frozen=True)
class Probe:
    """One trial of a search."""

    number: int
    stage: str
    """``coarse`` or ``fine``."""
    settings: Mapping[str, float]
    accuracy: float | None
    """The best epoch's; None when the run diverged before its first epoch was over."""
    epochs: int
    outcome: str
    """``complete``, ``pruned`` (hopeless beside the others at that epoch) or ``diverged``."""
    history: History


def search(
    problem: Problem,
    recipe: Recipe,
    trials: int,
    *,
    space: Mapping[str, Range] = SPACE,
    on_probe: Callable[[Probe], None] | None = None,
) -> list[Probe]:
    """Random settings over the whole space for the first half, then around the best quarter of those; best first.

    From the fifth run on, a run that stands below the median of the earlier ones at the same epoch is ended, after a third of its epochs.

    Args:
        problem: Builds model and loaders for each recipe drawn.
        recipe: All other settings; its seed also seeds the search.
        trials: Runs in all, at least 2.
        space: Settings to draw, by name.
        on_probe: Called after each run.

    Raises:
        UsageError: Optuna is missing, or fewer than two trials are asked for.
    """
    if trials < 2:
        msg = f"a search of {trials} {'trial' if trials == 1 else 'trials'} cannot compare anything: at least 2"
        raise UsageError(msg)
    try:
        import optuna
    except ImportError as error:
        msg = "the search needs Optuna: pip install 'trainlint[search]'"
        raise UsageError(msg) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=recipe.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=max(recipe.epochs // 3, 1)),
    )
    probes: list[Probe] = []
    current, stage = dict(space), "coarse"
    for number in range(trials):
        if number == math.ceil(trials / 2):
            current, stage = _narrowed(space, probes), "fine"
        trial = study.ask()
        settings = {name: spread.draw(trial, name) for name, spread in current.items()}
        probe, state = _run(problem, recipe, settings, trial, number, stage)
        study.tell(trial, probe.accuracy if state == optuna.trial.TrialState.COMPLETE else None, state=state)
        probes.append(probe)
        if on_probe is not None:
            on_probe(probe)
    return sorted(probes, key=_rank, reverse=True)


def _rank(probe: Probe) -> tuple[bool, float]:
    return probe.outcome == "complete", probe.accuracy or 0.0


def _narrowed(space: Mapping[str, Range], probes: Sequence[Probe]) -> dict[str, Range]:
    best = sorted(probes, key=_rank, reverse=True)[: max(2, math.ceil(len(probes) / 4))]
    return {name: spread.around([p.settings[name] for p in best]) for name, spread in space.items()}


def _run(
    problem: Problem, recipe: Recipe, settings: Mapping[str, float], trial: optuna.Trial, number: int, stage: str
) -> tuple[Probe, optuna.trial.TrialState]:
    import optuna

    whole = {"batch_size", "epochs", "cycles", "patience"}
    drawn: dict[str, Any] = {name: int(value) if name in whole else value for name, value in settings.items()}
    variant = recipe.change(**drawn)
    history = History()

    def watch(row: Epoch) -> None:
        history.epochs.append(row)
        trial.report(row.val_accuracy if row.val_accuracy is not None else -row.val_loss, row.epoch)
        if row.epoch < recipe.epochs and trial.should_prune():
            raise optuna.TrialPruned

    state, outcome = optuna.trial.TrialState.COMPLETE, "complete"
    pieces = problem(variant)
    try:
        train(pieces.model, pieces.train_loader, pieces.val_loader, variant, on_epoch=watch)
    except optuna.TrialPruned:
        state, outcome = optuna.trial.TrialState.PRUNED, "pruned"
    except DivergedError:
        state, outcome = optuna.trial.TrialState.FAIL, "diverged"
    accuracy = history.best.val_accuracy if history.epochs else None
    return Probe(number, stage, settings, accuracy, len(history.epochs), outcome, history), state
