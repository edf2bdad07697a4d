"""How much the inputs of a step matter to what it predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainlint.location import Location
from trainlint.measurements.base import Measurement

__all__ = ["Collapsed", "CutStream", "Influence", "InputEffect", "TokenOrder"]


@dataclass(frozen=True, kw_only=True)
class InputEffect:
    """One tensor that enters the model, given to other samples of the batch while all else stays."""

    path: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    change: float = 0.0
    """Largest change of a prediction over the largest prediction."""
    gradient_change: float = 0.0
    """The same for the gradients of the parameters, by their norm: not zero under a last layer that still is zero."""
    connected: bool = True
    """Some operation of the recorded step leads from it to the loss; else the model itself was called again."""


@dataclass(frozen=True, kw_only=True)
class Collapsed:
    """Different numbers that a cast turns into one and the same integer, by which a model looks something up."""

    numbers: int
    """Different ones, in one step."""
    low: float
    high: float
    look_up: str
    """The operation that takes the integer: ``embedding``, ``index``, ``one_hot`` …"""
    where: Location
    """The cast."""


@dataclass(frozen=True, kw_only=True)
class Influence(Measurement):
    """What exchanging inputs between samples changes."""

    name: ClassVar[str] = "influence"
    together: InputEffect | None = None
    """All inputs at once; None where only ``collapsed`` could be measured."""
    collapsed: tuple[Collapsed, ...] = ()
    inputs: tuple[InputEffect, ...] = ()
    """Each alone, when there are several."""
    samples: int = 0
    model: str = ""
    lost_in: str = ""
    """Operation whose result does not depend on the inputs though what it is given does; empty when there is none."""
    where: Location | None = None
    """That operation, else the first of the model's, else where the model is called."""


@dataclass(frozen=True, kw_only=True)
class CutStream:
    """A stream of tokens whose neighbours lie along another axis than the one that a next-token model reads as time."""

    down: float
    """Nats that a token tells of the next one in time, beyond how frequent that is; held out, so that chance is below 0."""
    across: float
    """The same of the token beside it."""
    around: float
    """The same of the last token of a row for the first of the next row."""
    tokens: int
    columns: int
    """Tokens of a row; a step in time skips as many."""
    shape: tuple[int, ...] = ()
    """What the line gave that cut the stream, (rows, columns); empty where that is not seen."""
    where: Location | None = None
    """That line, else where the step went backward."""


@dataclass(frozen=True, kw_only=True)
class TokenOrder(Measurement):
    """What another order of the tokens of each row changes in the predictions of a model with attention."""

    name: ClassVar[str] = "token_order"
    attends: bool = False
    """Attention runs among the positions of a sequence; else nothing was tried."""
    tokens: int = 0
    """Positions of a row; the first and the last token stay."""
    samples: int = 0
    change: float = 0.0
    """Largest change of a prediction by the order."""
    effect: float = 0.0
    """The same by another sample's tokens."""
    where: Location | None = None
    """Where tokens are looked up."""
    by_sample: Location | None = None
    """Where predictions begin to depend on the place of their sample in the batch: positions that were counted along the wrong axis."""
    stream: CutStream | None = None
    """Where it is found nothing else was tried."""
