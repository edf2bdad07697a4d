"""What replaying a recorded step showed: trust, overfitting one batch, learning rates, mixing of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainlint.location import Location
from trainlint.measurements.base import Measurement
from trainlint.measurements.reading import CrossedLinks, Overwritten

__all__ = ["Attempt", "Comparison", "Course", "LearningRate", "Mixing", "Overfit", "Replay", "Trial"]


@dataclass(frozen=True, kw_only=True)
class Replay(Measurement):
    """Whether the recorded step can be run again, and how that was checked."""

    name: ClassVar[str] = "replay"
    trust: str = "none"
    """``next step`` (reproduced the loss of the next real step from that step's weights and batch), ``same batch`` (reproduced its own step;
    the next one had other shapes or constants) or ``none``."""
    reason: str = ""
    """Why it is not trusted, or trusted only for its batch."""
    operations: int = 0
    loss: float = 0.0
    replayed_loss: float = 0.0
    next_loss: float | None = None
    next_replayed_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try to overfit the batch."""

    optimizer: str
    lr: float
    losses: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Overfit(Measurement):
    """One batch, trained on again and again, regularisation off."""

    name: ClassVar[str] = "overfit"
    attempts: tuple[Attempt, ...] = ()
    best: int = 0
    """Position of the attempt that went lowest."""
    batch_size: int = 0
    initial: float = 0.0
    final: float = 0.0
    """Lowest loss reached."""
    floor: float = 0.0
    """The lowest loss that any model could reach on this batch: the entropy of soft or smoothed targets, 0 for most losses."""
    unbounded: bool = False
    """The loss has no known floor (a hand-written formula that can be negative)."""
    reached: float = 0.0
    """(final - floor) / (initial - floor): 0 when fully fitted, 1 when nothing was learned."""
    accuracy: float | None = None
    """On the batch, at the end, when the targets are classes."""
    kind: str = ""
    """The loss call's kind."""
    conflicting: int = 0
    """Samples with the same input and different targets: they cannot all be fitted."""
    cut_short: bool = False
    """The time budget ended the last attempt, or kept another learning rate from being tried."""
    step_equivalents: float = 0.0
    where: Location | None = None
    endless_where: Location | None = None
    """Where the largest term of a loss is made that fell far below zero."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A short replayed run at one learning rate, by the user's own optimizer settings."""

    lr: float
    losses: tuple[float, ...]
    """At most as many as steps; shorter when it was stopped early."""
    diverged: bool = False
    score: float = 0.0
    """Mean loss of its last steps: one turn of the recorded batches, or turns that make four; differences between the batches are taken out."""
    peak: float = 0.0
    """Highest mean loss over such a turn after the warm-up, over the first loss; 0 when there was no whole turn."""


@dataclass(frozen=True, kw_only=True)
class LearningRate(Measurement):
    """How the configured learning rate compares with others, from the same weights on the same batches."""

    name: ClassVar[str] = "learning_rate"
    optimizer: str = ""
    configured: float = 0.0
    """The highest learning rate that the configuration will use within its warm-up: the base LR, not a warm-up's first value."""
    built: float = 0.0
    """What the optimizer was given, where a schedule stays far away from it at all its calls; 0 where ``configured`` is that."""
    schedule_where: Location | None = None
    """Where that schedule was built."""
    first: float = 0.0
    """At the first recorded step."""
    restored_where: Location | None = None
    """Where ``load_state_dict()`` brought back the first rate, far below the configured one, which nothing raises again; then nothing is tried."""
    where: Location | None = None
    momentum: float = 0.0
    """Of an optimizer that adds up gradients by it (SGD), without damping; 0 for others."""
    initial: float = 0.0
    """Loss before any step, over the recorded batches."""
    trials: tuple[Trial, ...] = ()
    low: float | None = None
    """Lower end of the band of learning rates that train well; None when no trial made progress."""
    high: float | None = None
    limit: float | None = None
    """The loss below which a trial belongs to the band: at half of the best one's progress."""
    open_low: bool = False
    """The lowest rate that was tried still trains well: the band goes on below ``low``."""
    open_high: bool = False
    suggestion: float | None = None
    progress: bool = True
    """Whether any learning rate reduced the loss."""
    has_loader: bool = True
    """Training batches come from a DataLoader, whose length can be named."""
    curve_lr: tuple[float, ...] = ()
    """The classic range test, for the eye."""
    curve_loss: tuple[float, ...] = ()
    steps: int = 0
    """Steps of each trial."""
    batches: int = 0
    """Recorded batches that were fed in turn; 0 when not known."""
    step_equivalents: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Mixing(Measurement):
    """Whether the loss of one sample depends on the input of another."""

    name: ClassVar[str] = "mixing"
    across_samples: bool | None = None
    """By exchanging inputs, dropout off and batch statistics kept; None when it could not be measured."""
    samples: int = 0
    share: float = 0.0
    """Largest change by another sample's input over the change by its own."""
    first_where: Location | None = None
    """First operation after which outputs depend on other samples."""
    operation: str = ""
    future_tokens: bool | None = None
    """Language models: the prediction of a token depends on that token or on later ones."""
    future_share: float = 0.0
    unshifted: bool = False
    """Language models: each prediction is compared with the very token that it was made from."""
    future_alone: bool = False
    """Language models: predictions depend on later tokens, and on none before the one that was read last."""
    contrastive: bool = False
    """The loss compares samples with each other by design (a batch-by-batch matrix enters it)."""
    answered: tuple[int, int] | None = None
    """A sample of the batch, and the one with whose target its prediction is compared: rows came back in another order."""
    place_share: float | None = None
    """Median change of a prediction when all samples move on by one place in the batch, over that between samples; None when not measured."""
    place_where: Location | None = None
    """First operation whose rows do not move along."""
    place_operation: str = ""
    overwritten: Overwritten | None = None
    """In the data, before any model sees it."""
    crossed: CrossedLinks | None = None
    """By the training loader's collate function."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """One configuration, trained for a while."""

    name: str
    """``as it is``, ``with the fixes`` or ``reference recipe``."""
    losses: tuple[float, ...] = ()
    """Mean judged loss at each of ``Comparison.checks``; NaN once a run has broken down."""
    finals: tuple[float, ...] = ()
    """The last of each seed."""
    accuracies: tuple[float, ...] = ()
    """Share of right answers at the end, by seed; empty for losses without classes."""


@dataclass(frozen=True, kw_only=True)
class Comparison(Measurement):
    """The script's configuration beside the mended one and a reference recipe, for the same steps and seeds."""

    name: ClassVar[str] = "comparison"
    steps: int = 0
    checks: tuple[int, ...] = ()
    """Steps after which the runs were judged."""
    validation: bool = False
    """Judged on validation batches; otherwise on training batches."""
    courses: tuple[Course, ...] = ()
