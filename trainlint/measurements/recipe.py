"""The recipe: short runs from the same weights under changed settings, soft targets, batch size, averaged weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainlint.location import Location
from trainlint.measurements.base import Measurement

__all__ = [
    "BatchSize",
    "Ema",
    "EmaCopy",
    "KeptBest",
    "KeptWeights",
    "NormLayer",
    "Regulariser",
    "ShortRun",
    "ShortRuns",
    "SoftTargets",
    "TargetCall",
]


@dataclass(frozen=True, kw_only=True)
class ShortRun:
    """A few replayed steps from the weights that the script began with, by its own optimizer settings but for one change."""

    purpose: str
    """``configured``, ``gentle`` (a twentieth of the learning rate), ``warm-up`` (the learning rate rises first), ``free`` (no
    regularisation) or ``without dropout`` … (one regulariser switched off)."""
    lr: float
    warm_up: int = 0
    """Steps over which the learning rate rose."""
    losses: tuple[float, ...] = ()
    """Of each step, as the script computes it; shorter than planned when it diverged."""
    clean: tuple[float, ...] = ()
    """Mean loss over the recorded batches without regularisation, after the steps in ``ShortRuns.checks``."""
    gradient_norms: tuple[float, ...] = ()
    """Of each step, before clipping."""
    moved: float | None = None
    """Distance of the pretrained weight matrices from where they began over their norm; None when there are none."""
    diverged: bool = False


@dataclass(frozen=True, kw_only=True)
class Regulariser:
    """Something that makes learning harder on purpose."""

    kind: str
    """``dropout``, ``drop path``, ``weight decay`` or ``label smoothing``."""
    strength: float
    """Highest probability, decay or smoothing."""
    where: Location | None = None


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """A few steps on training samples as they are augmented, and on the same samples read as the validation data is."""

    where: Location | None = None
    """Where the training dataset was built."""
    transforms: tuple[str, ...] = ()
    """Classes of the random transforms that the dataset applies; empty when it has none, or augments by itself."""
    initial: float = 0.0
    """Loss before any step on other training samples, read plainly."""
    checks: tuple[int, ...] = ()
    augmented: ShortRun
    plain: ShortRun | None = None
    """None when so much was learned with augmentation that nothing can be four times as much."""


@dataclass(frozen=True, kw_only=True)
class ShortRuns(Measurement):
    """What a few steps do at the configured settings and beside them."""

    name: ClassVar[str] = "short_runs"
    optimizer: str = ""
    where: Location | None = None
    """Where the optimizer was built."""
    configured: float = 0.0
    """Highest learning rate that the configuration reaches after its warm-up."""
    first: float = 0.0
    """Learning rate at the first recorded step."""
    initial: float = 0.0
    """Loss before any step without regularisation, over the recorded batches."""
    steps: int = 0
    checks: tuple[int, ...] = ()
    """Steps after which ``ShortRun.clean`` was measured."""
    runs: tuple[ShortRun, ...] = ()
    pretrained: float = 0.0
    """Share of the trained elements whose values were loaded, or trained earlier in the script."""
    pretrained_how: str = ""
    """How the values came: ``load_state_dict()``, ``an earlier training in this script`` …"""
    resumed: bool = False
    """The optimizer's state was loaded as well: the run goes on where another ended."""
    attention: bool = False
    post_norm: bool = False
    """Norms stand after the residual sums."""
    regularisers: tuple[Regulariser, ...] = ()
    augmentation: Augmentation | None = None
    """None when the training data is not augmented, or cannot be read without."""

    def run(self, purpose: str) -> ShortRun | None:
        """The run of that purpose."""
        return next((r for r in self.runs if r.purpose == purpose), None)


@dataclass(frozen=True, kw_only=True)
class TargetCall:
    """A class loss and the targets it was given."""

    kind: str
    where: Location | None = None
    label_smoothing: float = 0.0
    soft: bool = False
    """Floating targets, one value a class."""
    row_sum: float | None = None
    """Mean sum of a soft target over the classes."""
    multi_hot: bool = False
    """Zeros and ones only, and more than one class in some rows: tags, not a distribution."""
    smoothed_by: float = 0.0
    """Smoothing that is in the targets already: the classes times their smallest value, when most values are that one."""


@dataclass(frozen=True, kw_only=True)
class SoftTargets(Measurement):
    """Soft and mixed targets, and what the loss makes of them."""

    name: ClassVar[str] = "soft_targets"
    calls: tuple[TargetCall, ...] = ()
    hardened_by: str = ""
    """The operation that makes hard targets of soft ones, as the code calls it; empty when there is none."""
    hardened_where: Location | None = None
    hardened_rows: float = 0.0
    """Share of the samples whose soft target differs from the hard one that was made of it."""
    lost_weight: float = 0.0
    """Mean weight of a sample's target that the hardening throws away."""
    inputs_mixed: bool | None = None
    """Samples of a batch are blended into each other before the first layer; None when it could not be measured."""
    mixed_where: Location | None = None
    blend: float = 0.0
    """Median share that the other sample has in a blended input."""
    labels_mixed: bool | None = None
    """The loss sees the label of the other sample too."""
    own_weight: float | None = None
    """What a sample's own label weighs, where the loss is a weighted sum of two calls, one with each label, or the collate function blends them."""
    labels_where: Location | None = None
    """Where the collate function blends the labels."""
    collated: bool = False
    """The loader's collate function blends them."""


@dataclass(frozen=True, kw_only=True)
class NormLayer:
    """A batch normalisation in training mode."""

    module: str
    kind: str
    samples: int
    """Size of the batch axis that it saw."""
    values: int
    """Values that one channel's statistics are made of: samples times positions."""
    where: Location | None = None


@dataclass(frozen=True, kw_only=True)
class BatchSize(Measurement):
    """The batch against the layers, the data and the noise of its gradient."""

    name: ClassVar[str] = "batch_size"
    batch_size: int | None = None
    where: Location | None = None
    """Where the training loader was built."""
    dataset_size: int | None = None
    steps_per_epoch: int | None = None
    epochs: int | None = None
    norms: tuple[NormLayer, ...] = ()
    noise_scale: float | None = None
    """Batch size at which the noise of the gradient equals its length (McCandlish et al.), at the first weights: the least that it may be, by
    two standard errors. None when not measured."""
    gradients: int = 0
    """Batches whose gradients it was estimated from."""


@dataclass(frozen=True, kw_only=True)
class EmaCopy:
    """A second set of the model's weights."""

    kind: str
    """Class that holds it, or ``dict`` or ``list``."""
    where: Location | None = None
    """Where it was built; the line that updates it when that is not known."""
    declared: float | None = None
    """The ``decay`` that the object says it uses."""
    decays: tuple[float, ...] = ()
    """Measured at updates between recorded steps: 1 - (the copy's move) / (its distance to the weights)."""
    updates: int = 0
    watched: int = 0
    """Optimizer steps over which it was watched."""
    evaluated: bool = False
    """It was called without gradients on batches that were not trained on."""
    is_average: bool = False
    """It says itself that it is a moving average: a known class, or a ``decay``."""
    equal_weights: bool = False
    """It averages all updates alike, as stochastic weight averaging does."""
    fresh_statistics: int = 0
    """Its batch-norm layers whose running statistics are those of a new layer, while the trained model's have moved."""
    replaces_weights: bool = False
    """Its values stood in the trained weights at the first step after a validation pass, and at no other."""
    replaced_where: Location | None = None
    """The line that puts them there, or else where the model was evaluated."""
    left_where: Location | None = None
    """The line of the running loop that will put it into the model, where nothing puts the trained weights back: told by the source."""
    restorer: str = ""
    """The method that would put them back, and is called nowhere."""
    lost_to: str | None = None
    """It stands still because its update gives the new values to this name, which nothing reads; empty where they are dropped. None else."""


@dataclass(frozen=True, kw_only=True)
class RunningStatistics:
    """Batch-norm layers of the trained model that average with the same momentum, from new statistics on."""

    momentum: float
    """Weight of each new batch."""
    layers: int
    fresh: bool = False
    """They are still nearly those of a new layer, mean 0 and variance 1."""
    where: Location | None = None
    """Where the first of them was built."""


@dataclass(frozen=True, kw_only=True)
class KeptWeights:
    """Weights that the source keeps or copies without making a copy."""

    kind: str
    """``state``: a state_dict() kept as the best and loaded later; ``model``: the model kept as the best under another name;
    ``itself``: a model that loads its own state_dict()."""
    what: str
    """The name that keeps them, or the model that loads its own."""
    where: Location | None = None


@dataclass(frozen=True, kw_only=True)
class KeptBest:
    """How a framework's trainer picks the best checkpoint, or when to stop."""

    kind: str
    """Class of what was told so: ``TrainingArguments``, ``ModelCheckpoint``, ``EarlyStopping``."""
    metric: str
    rises: bool
    """Whether the metric gets better by rising, by its name."""
    rising_is_better: bool
    """What the trainer was told."""
    setting: str = ""
    """The argument that tells it: ``greater_is_better``, ``lower_is_better``, ``mode``, or ``score_function``, whose higher value is the better one."""
    by_default: bool = False
    """The script leaves that argument out."""
    keeps: bool = False
    """Weights are kept, or loaded, by it."""
    stops: bool = False
    """The run is stopped by it."""
    where: Location | None = None
    """Where the metric is named."""
    built_where: Location | None = None
    """The call that it is named in."""


@dataclass(frozen=True, kw_only=True)
class Ema(Measurement):
    """Copies of the model's weights that could be moving averages, and batch norm's own averages."""

    name: ClassVar[str] = "ema"
    copies: tuple[EmaCopy, ...] = ()
    statistics: tuple[RunningStatistics, ...] = ()
    kept: tuple[KeptWeights, ...] = ()
    best: tuple[KeptBest, ...] = ()
    steps_per_epoch: int | None = None
    epochs: int | None = None
