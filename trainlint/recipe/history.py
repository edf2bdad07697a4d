"""What a training did, epoch by epoch: as numbers, a CSV file and a drawing."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from trainlint.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Epoch", "History", "sparkline"]


@dataclass(frozen=True)
class Epoch:
    """One epoch."""

    epoch: int
    """Counted from 1."""
    lr: float
    """Of the first parameter group, at the epoch's last update."""
    strength: float
    """Of augmentation and mixing, 0 to 1."""
    train_loss: float
    """Mean over the epoch, with augmentation and the training loss: not comparable to ``val_loss``."""
    val_loss: float
    val_accuracy: float | None
    """None where targets are no class labels."""
    seconds: float

    def score(self) -> tuple[float, float]:
        """Larger is better: accuracy first where there is one, then the loss."""
        return (self.val_accuracy or 0.0, -self.val_loss)


@dataclass
class History:
    """All epochs of a training, and the weights it kept on the way."""

    epochs: list[Epoch] = field(default_factory=list)
    stopped_early: bool = False
    snapshots: list[dict[str, Tensor]] = field(default_factory=list)
    """State dicts at the end of each cycle of the cyclic schedule."""

    @property
    def best(self) -> Epoch:
        """The epoch with the best validation score; the earlier of equal ones."""
        return max(self.epochs, key=Epoch.score)

    @property
    def last(self) -> Epoch:
        """The final epoch."""
        return self.epochs[-1]

    @property
    def seconds(self) -> float:
        """Wall-clock time of all epochs."""
        return sum(e.seconds for e in self.epochs)

    def stale(self) -> int:
        """Epochs since the best."""
        return self.last.epoch - self.best.epoch

    def save_csv(self, path: Path) -> None:
        """One row an epoch, with a header."""
        with _writable(path).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [f.name for f in fields(Epoch)])
            writer.writeheader()
            writer.writerows(asdict(e) for e in self.epochs)


def _writable(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{path.parent} could not be made: {error.strerror or error}"
        raise UsageError(msg) from error
    return path


def sparkline(values: list[float], width: int = 40) -> str:
    """A curve in one line of block characters, thinned to ``width``."""
    chosen = values if len(values) <= width else [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    low, high = min(chosen, default=0.0), max(chosen, default=0.0)
    return "".join("▁▂▃▄▅▆▇█"[int(7 * (v - low) / (high - low)) if high > low else 0] for v in chosen)
