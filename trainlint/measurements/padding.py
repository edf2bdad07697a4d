"""Padding: which positions of a batch only fill up short sequences, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainlint.location import Location
from trainlint.measurements.base import Measurement

__all__ = ["LeftOut", "LostEnds", "Padding", "SharedToken"]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A class that the loss ignores, at positions that are no padding."""

    index: int
    """``ignore_index``, below the number of outputs."""
    classes: int
    share: float
    """Positions of that class among the real ones."""
    positions: int
    """Real positions."""
    padding: bool
    """The batch holds padding, whose targets have that index too."""
    pictures: bool = False
    """Positions are pixels, not tokens."""
    where: Location | None = None
    """Where the criterion was built, else the call."""


@dataclass(frozen=True, kw_only=True)
class LostEnds:
    """End marks of sequences that the loss ignores, since the same token fills them up."""

    token: int
    sequences: int
    """Those that end with it by the batch's mask, and are not taught to."""
    of: int
    """Sequences of the batch; none of them is taught an end."""
    pretrained: bool = False
    """Weights were loaded into the model, so that its vocabulary was settled before."""
    set_where: Location | None = None
    """Where the end mark of a tokenizer was made its padding."""
    where: Location | None = None
    """The loss."""


@dataclass(frozen=True, kw_only=True)
class SharedToken:
    """A token that fills up short samples when a batch is made of them."""

    path: str
    token: int
    share: float
    """Of what stands in the samples themselves before their last place."""
    where: Location | None = None
    """Where the dataset was built."""


@dataclass(frozen=True, kw_only=True)
class Padding(Measurement):
    """Padded positions of the recorded batch, in the loss and in the predictions of real positions."""

    name: ClassVar[str] = "padding"
    found: bool = False
    """Sequences of different lengths were filled up."""
    path: str = ""
    """Of the padded tensor: the input, or where only the target is padded, that."""
    side: str = "end"
    """``end`` or ``start``."""
    value: float = 0.0
    """What they are filled up with."""
    share: float = 0.0
    """Padded positions over all."""
    masked: bool = False
    """The batch holds a mask that tells padding apart."""
    unused_mask: str = ""
    """Path of that mask where the step makes no use of it."""
    counted: float | None = None
    """Share of padded positions among those whose prediction the loss depends on; None when predictions are not made by position."""
    scored: int = 0
    """Positions whose prediction the loss depends on."""
    fill: int | None = None
    """The one class that all targets at padded positions have; None where they are no classes, or several."""
    real: float | None = None
    """Share of the targets at real positions, those next to padding left out, that are that class too."""
    target: str = ""
    """Path of the batch's tensor of targets, where the loss ignores -100 and it is not the padded one itself."""
    loss: str = ""
    """The loss function's kind; empty for a formula."""
    loss_where: Location | None = None
    influence: float | None = None
    """Change of the predictions for real positions when what stands at padded ones is exchanged, over the change when real ones are."""
    reader: str = ""
    """How padding gets there: ``recurrent``, ``attention``, ``pooling``, ``position``, ``convolution`` or ``other``."""
    operation: str = ""
    reader_where: Location | None = None
    left_out: LeftOut | None = None
    """Of the first loss over classes that ignores the index of one of its outputs."""
    lost_ends: LostEnds | None = None
    """Of the first loss over the tokens of a language model."""
    shared_token: SharedToken | None = None
    """Of the training loader's first input that is filled up."""
