"""Every setting of the recipe, checked, as plain data; and what each ingredient is when it is left out."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from trainlint.errors import UsageError

__all__ = ["INGREDIENTS", "Recipe"]

#: What the settings are when one ingredient is left out. An ingredient that a recipe has in that state already is off.
INGREDIENTS: Mapping[str, Mapping[str, Any]] = {
    "warm-up": {"warmup": 0.0},
    "schedule": {"schedule": "constant"},
    "weight-decay": {"weight_decay": 0.0},
    "decay-groups": {"decay_all": True},
    "layer-decay": {"layer_decay": 1.0},
    "gradient-clipping": {"clip_norm": 0.0},
    "label-smoothing": {"label_smoothing": 0.0},
    "mixup": {"mixup": 0.0},
    "cutmix": {"cutmix": 0.0},
    "auto-augment": {"augment": "none"},
    "random-crop": {"crop": 1.0},
    "random-erasing": {"erase": 0.0},
    "strength-schedule": {"ramp": 0.0},
    "stochastic-depth": {"drop_path": 0.0},
    "dropout": {"dropout": 0.0},
    "ema": {"ema": False},
    "mixed-precision": {"amp": False},
    "class-balanced-loss": {"class_balanced": False},
    "balanced-sampling": {"balanced_sampling": False},
    "early-stopping": {"patience": 0},
    "best-checkpoint": {"keep_best": False},
}

_CHOICES = {
    "schedule": ("cosine", "onecycle", "step", "linear", "inverse-sqrt", "cyclic", "constant"),
    "loss": ("cross-entropy", "binary-cross-entropy", "focal"),
    "augment": ("rand", "trivial", "auto", "none"),
    "tune": ("all", "head", "progressive"),
}
_SHARES = (
    "warmup", "label_smoothing", "mix_prob", "erase", "hflip", "ramp", "drop_path", "dropout", "min_lr", "layer_decay", "crop", "ema_horizon", "momentum"
)  # fmt: skip
_WHOLE = {"epochs": 1, "batch_size": 1, "cycles": 1, "patience": 0, "seed": 0}
_NOT_NEGATIVE = ("weight_decay", "clip_norm", "mixup", "cutmix", "magnitude", "focal_gamma")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of one training. The defaults are the modern recipe at full strength; see :meth:`scaled_to` for small data."""

    epochs: int = 30
    batch_size: int = 32
    """Samples a step, for loaders that the recipe builds; a loader of one's own keeps its size."""
    seed: int = 0

    optimizer: str = "adamw"
    """Any name that timm's registry knows: adamw, adam (coupled decay), sgd, lion, muon, adafactor, lamb ..."""
    lr: float = 1e-3
    """Peak learning rate; 1e-3 suits AdamW at this batch size. Lion wants about a tenth, SGD with momentum 10 to 100 times as much."""
    weight_decay: float = 0.05
    momentum: float = 0.9
    """For optimizers that take one; OneCycle moves it (or Adam's first beta) against the learning rate."""
    decay_all: bool = False
    """Decay norms and biases too, which the recipe leaves out."""
    layer_decay: float = 1.0
    """Factor on the learning rate for each layer further from the head; 1 is off. 0.65 to 0.9 for fine-tuning."""
    clip_norm: float = 1.0
    """Greatest norm of the whole gradient; 0 is off."""

    schedule: str = "cosine"
    """cosine, onecycle, step, linear, inverse-sqrt, cyclic (cosine with restarts, a snapshot at each end) or constant."""
    warmup: float = 0.1
    """Share of all updates over which the learning rate rises linearly (for onecycle at least 0.1)."""
    min_lr: float = 0.01
    """Where cosine, cyclic and linear end, as a share of ``lr``."""
    cycles: int = 4
    """Of the cyclic schedule."""

    loss: str = "cross-entropy"
    """cross-entropy, binary-cross-entropy (one-vs-rest) or focal (sigmoid)."""
    label_smoothing: float = 0.1
    focal_gamma: float = 2.0
    class_balanced: bool = False
    """Weigh classes by their effective number of samples (Cui et al. 2019)."""
    balanced_sampling: bool = False
    """Draw every class equally often."""

    mixup: float = 0.2
    """Alpha of the Beta distribution; 0 is off. With both, MixUp and CutMix take turns."""
    cutmix: float = 1.0
    mix_prob: float = 0.5
    """Share of batches that are mixed."""

    augment: str = "rand"
    """rand, trivial, auto or none; for loaders that the recipe builds."""
    magnitude: float = 9.0
    """Of RandAugment, 0 to 9."""
    crop: float = 0.35
    """Smallest share of an image's area that a random crop keeps; 1 is off."""
    hflip: float = 0.5
    """Probability of a mirror image. Set 0 where left and right differ, as in text."""
    erase: float = 0.1
    """Probability that a rectangle is erased."""
    ramp: float = 0.5
    """Share of the epochs over which augmentation and mixing rise from 0.2 to full strength; 0 is full strength from the start."""

    drop_path: float = 0.1
    """Stochastic depth, for models that the recipe builds."""
    dropout: float = 0.0
    """Before the head, for models that the recipe builds."""
    ema: bool = True
    """Evaluate and keep an exponential moving average of the weights."""
    ema_horizon: float = 0.1
    """How far back the average reaches, as a share of all updates."""
    amp: bool = True
    """Half precision with a gradient scaler, on CUDA devices; elsewhere it does nothing."""

    patience: int = 0
    """Stop after so many epochs without improvement; 0 is never."""
    keep_best: bool = True
    """Hand back the weights of the best epoch instead of the last."""
    tune: str = "all"
    """all, head (feature extraction) or progressive (unfreeze from the head down over the first half)."""

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if (value := getattr(self, name)) not in allowed:
                msg = f"recipe setting {name}={value!r}: choose one of {', '.join(allowed)}"
                raise UsageError(msg)
        for name, least in _WHOLE.items():
            if (value := getattr(self, name)) != int(value) or value < least:
                msg = f"recipe setting {name}={value!r}: a whole number of at least {least} is wanted"
                raise UsageError(msg)
        for name in _SHARES:
            if not 0 <= (value := getattr(self, name)) <= 1:
                msg = f"recipe setting {name}={value!r}: a number from 0 to 1 is wanted"
                raise UsageError(msg)
        for name in _NOT_NEGATIVE:
            if not 0 <= (value := getattr(self, name)) < math.inf:
                msg = f"recipe setting {name}={value!r}: a number of at least 0 is wanted"
                raise UsageError(msg)
        if self.magnitude > 9:
            msg = f"recipe setting magnitude={self.magnitude!r}: RandAugment goes up to 9"
            raise UsageError(msg)
        if not 0 < self.lr < math.inf:
            msg = f"recipe setting lr={self.lr!r}: a number above 0 is wanted"
            raise UsageError(msg)
        for name in ("crop", "layer_decay", "ema_horizon"):
            if getattr(self, name) == 0:
                msg = f"recipe setting {name}=0: a number above 0 is wanted (1 is off)"
                raise UsageError(msg)

    @classmethod
    def plain(cls, optimizer: str = "adam", lr: float = 1e-3, **changes: Any) -> Recipe:
        """No ingredient at all: a constant learning rate, no decay, no augmentation but the resize, the last epoch's weights.

        ``sgd`` is without momentum. What most first scripts do, and what the recipe is measured against.
        """
        off: dict[str, Any] = {"hflip": 0.0, "momentum": 0.0}
        for settings in INGREDIENTS.values():
            off.update(settings)
        return Recipe(**{**off, "optimizer": optimizer, "lr": lr, **changes})

    def change(self, **changes: Any) -> Recipe:
        """A copy with some settings changed. Raises UsageError for a name that is none."""
        _known(changes)
        return replace(self, **changes)

    def without(self, *ingredients: str) -> Recipe:
        """A copy with ingredients left out, by the names in :data:`INGREDIENTS`."""
        changes: dict[str, Any] = {}
        for name in ingredients:
            if name not in INGREDIENTS:
                near = difflib.get_close_matches(name, INGREDIENTS, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(INGREDIENTS)}"
                msg = f"the recipe has no ingredient {name!r}; {hint}"
                raise UsageError(msg)
            changes.update(INGREDIENTS[name])
        return replace(self, **changes)

    def ingredients(self) -> tuple[str, ...]:
        """The names of those that are on."""
        mine = asdict(self)
        on = [name for name, off in INGREDIENTS.items() if any(mine[k] != v for k, v in off.items())]
        moot = set()
        if not ({"auto-augment", "random-crop", "random-erasing", "mixup", "cutmix"} & set(on)):
            moot.add("strength-schedule")
        if not self.weight_decay:
            moot.add("decay-groups")
        if self.schedule == "onecycle":
            moot.add("warm-up")  # it brings its own
        return tuple(name for name in on if name not in moot)

    def scaled_to(self, samples: int) -> Recipe:
        """A copy whose regularisers are as strong as the run can pay for; a regulariser only helps against overfitting.

        The factor is ``log(seen / 1e3) / log(1e5)`` between 0.1 and 1, ``seen`` being samples × epochs: full strength from 1e8 samples
        seen, as in 100 epochs of ImageNet, for which such strengths are published; a fifth at ten thousand. A rule of thumb;
        `trainlint recipe --ablate` measures it on the data at hand.
        """
        factor = min(1.0, max(0.1, math.log(max(samples * self.epochs, 1) / 1e3) / math.log(1e5)))
        return replace(
            self,
            label_smoothing=round(self.label_smoothing * factor, 4),
            mix_prob=round(self.mix_prob * factor, 4),
            magnitude=round(self.magnitude * factor, 2),
            crop=round(1 - (1 - self.crop) * factor, 4),
            erase=round(self.erase * factor, 4),
            drop_path=round(self.drop_path * factor, 4),
            dropout=round(self.dropout * factor, 4),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and checkpoints."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The reverse of :meth:`to_dict`; unknown names are a UsageError."""
        _known(values)
        return cls(**values)

    @staticmethod
    def parse(assignment: str) -> tuple[str, Any]:
        """Name and typed value of ``"mixup=0.4"``. Raises UsageError when there is no such setting or the value does not fit."""
        name, equals, text = assignment.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            msg = f"{assignment!r} is no setting: write NAME=VALUE"
            raise UsageError(msg)
        _known({name: text})
        default = getattr(Recipe, name)
        try:
            return name, _typed(text.strip(), default)
        except ValueError as error:
            msg = f"recipe setting {name}={text!r}: {error}"
            raise UsageError(msg) from error


def _typed(text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if (word := text.lower()) in ("true", "yes", "on", "1"):
            return True
        if word in ("false", "no", "off", "0"):
            return False
        msg = "on or off is wanted"
        raise ValueError(msg)
    kind = type(default)
    try:
        return kind(text)
    except ValueError:
        msg = f"a {'whole number' if kind is int else 'number'} is wanted"
        raise ValueError(msg) from None


def _known(names: Mapping[str, object]) -> None:
    known = [f.name for f in fields(Recipe)]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            msg = f"the recipe has no setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known)}")
            raise UsageError(msg)
