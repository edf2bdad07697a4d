"""Typed data that a finding shows beside its words: curves, bars, tables, pictures, code, a timeline.

A rule or probe fills these in; a renderer decides how they look. Everything is plain data and
survives a JSON round trip, so a saved report can be drawn again without torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Bars", "Code", "Detail", "ImageGrid", "Line", "Mark", "Picture", "Series", "Table", "Timeline", "TimelineEvent"]


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """What every kind of detail has."""

    topic: str = ""
    """Heading that it stands under where a report shows many; neighbours with the same topic belong together."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve of a :class:`Series`."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    """Same length as ``x``; NaN leaves a gap."""
    colour: str = ""
    """``red``, ``green`` or ``blue`` where it stands for that colour of a picture; else a renderer chooses."""
    between: tuple[int, ...] = ()
    """Positions that were not measured but worked out of their neighbours: the line goes through them, and no dot marks them."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A labelled place on the x axis (``x``) or y axis (``y``), or a band when ``x2`` is given."""

    label: str
    x: float | None = None
    x2: float | None = None
    y: float | None = None


@dataclass(frozen=True, kw_only=True)
class Series(_Shown):
    """One or more curves over a common x axis."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    log_x: bool = False
    log_y: bool = False
    marks: tuple[Mark, ...] = ()
    type: str = "series"


@dataclass(frozen=True, kw_only=True)
class Bars(_Shown):
    """One value per label, drawn in the order given (for layers: from input to output)."""

    title: str
    value_label: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    log: bool = False
    marks: tuple[Mark, ...] = ()
    """Thresholds, given as ``Mark(y=...)`` or a band as ``Mark(x=low, x2=high)`` on the value axis."""
    highlight: tuple[int, ...] = ()
    """Positions that are at fault."""
    type: str = "bars"


@dataclass(frozen=True, kw_only=True)
class Table(_Shown):
    """Rows of cells; numbers stay numbers, the renderer formats them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | None, ...], ...]
    type: str = "table"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A small picture with its caption. ``png`` is base64 without a prefix."""

    png: str
    caption: str
    flagged: bool = False


@dataclass(frozen=True, kw_only=True)
class ImageGrid(_Shown):
    """Pictures of samples, as the model receives them."""

    title: str
    pictures: tuple[Picture, ...]
    note: str = ""
    type: str = "images"


@dataclass(frozen=True, kw_only=True)
class Code(_Shown):
    """Lines of the user's own file around a place, or a short piece of advice as code."""

    title: str
    text: str
    first_line: int = 1
    highlight: int | None = None
    """Line number to mark, counted like ``first_line``."""
    type: str = "code"


@dataclass(frozen=True, kw_only=True)
class TimelineEvent:
    """One thing the training loop did."""

    kind: str
    """``batch``, ``forward``, ``loss``, ``backward``, ``clear``, ``clip``, ``step``, ``schedule``, ``train``, ``eval`` …"""
    label: str
    file: str = ""
    line: int = 0
    flagged: bool = False


@dataclass(frozen=True, kw_only=True)
class Timeline(_Shown):
    """The loop as it was seen, in order."""

    title: str
    events: tuple[TimelineEvent, ...] = field(default=())
    type: str = "timeline"


Detail = Series | Bars | Table | ImageGrid | Code | Timeline
