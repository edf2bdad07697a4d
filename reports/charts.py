"""Curves and bars as inline SVG that follows the page's colours, drawn once for wide and once for narrow columns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from trainlint.details import Bars, Line, Mark, Series

from .canvas import BAR, CHARACTER, FAULT, LINES, Canvas, Rule, drawing, shorten
from .phrases import count, number, visible

__all__ = ["DASHES", "Chart", "draw", "line_colour", "summarise"]

#: A second sign beside the colour of a curve: dash and gap lengths in line widths.
DASHES: tuple[tuple[float, ...], ...] = ((1, 0), (3, 1.5), (1, 1), (4, 1.5, 1, 1.5))

#: The colours of the page that come nearest to those of a picture.
_OF_PICTURES = {"blue": 0, "red": 1, "green": 2}

_WIDE, _NARROW = 480, 330
"""Widths in pixels: half of a large page, and a phone."""
_HOVER_MARKS = 150
"""Points of a curve that can be hovered over."""
_DOTTED = 25
"""Up to this many points of a curve are marked with dots."""
_NAMED_BARS = 32
"""Up to this many bars lie on their side, each with its name; more stand side by side."""
_BAR_HEIGHT, _TIGHT_BAR, _ROOMY_BARS = 26, 17, 12
"""Pixels a lying bar has, and those it has when there are more than so many."""
_GAP = (math.nan, math.nan)

_Point = tuple[float, float]


@dataclass(frozen=True)
class Chart:
    """A drawing in two widths."""

    wide: Markup
    narrow: Markup


def draw(detail: Series | Bars, prefix: str) -> Chart:
    """Draw a chart; ``prefix`` must be unique in the page."""
    summary = summarise(detail)
    with drawing():
        wide, narrow = (_canvas(detail, width).markup(summary, f"{prefix}-{width}") for width in (_WIDE, _NARROW))
    return Chart(wide, narrow)


def line_colour(line: Line, position: int) -> int:
    """Which of the page's colours the line at this position has, counted from 0."""
    return _OF_PICTURES.get(line.colour, position % len(LINES))


def summarise(detail: Series | Bars) -> str:
    """What a chart shows, for those who do not see it."""
    parts = list(_bars_in_words(detail) if isinstance(detail, Bars) else _series_in_words(detail))
    parts += [f"Marked: {_mark_in_words(mark)}." for mark in detail.marks]
    return visible(" ".join(parts))


def _series_in_words(detail: Series) -> list[str]:
    parts = [f"Line chart of {detail.y_label} by {detail.x_label}."]
    for line in detail.lines:
        ys = [y for x, y in zip(line.x, line.y, strict=False) if math.isfinite(x) and math.isfinite(y)]
        if ys:
            first, last, low, high = map(number, (ys[0], ys[-1], min(ys), max(ys)))
            parts.append(f"{line.name}: from {first} to {last}, lowest {low}, highest {high}.")
        if missing := min(len(line.x), len(line.y)) - len(ys):
            parts.append(f"{line.name}: {count(missing, 'value')} not finite.")
    return parts


def _bars_in_words(detail: Bars) -> list[str]:
    parts = [f"Bar chart of {detail.value_label}, {count(len(detail.values), 'bar')}."]
    if pairs := [(v, name) for v, name in zip(detail.values, detail.labels, strict=False) if math.isfinite(v)]:
        low, high = min(pairs), max(pairs)
        parts.append(f"Lowest {number(low[0])} ({low[1]}), highest {number(high[0])} ({high[1]}).")
    if names := [detail.labels[i] for i in detail.highlight if i < len(detail.labels)]:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        parts.append(f"At fault: {', '.join(names[:5])}{more}.")
    return parts


def _mark_in_words(mark: Mark) -> str:
    return f"{mark.label} ({' to '.join(number(v) for v in (mark.x, mark.x2, mark.y) if v is not None)})"


def _canvas(detail: Series | Bars, width: int) -> Canvas:
    if isinstance(detail, Series):
        return _series(detail, width)
    return _lying_bars(detail, width) if len(detail.values) <= _NAMED_BARS else _standing_bars(detail, width)


def _series(detail: Series, width: int) -> Canvas:
    canvas = Canvas.new(width, 200 if width == _WIDE else 170, left=52, below=detail.x_label)
    axes = canvas.axes
    canvas.scale("x", log=detail.log_x)
    canvas.scale("y", log=detail.log_y)
    upright = [(m.label, m.x, m.x2) for m in detail.marks if m.x is not None and _drawable(m.x, detail.log_x)]
    level: list[Rule] = [(m.label, m.y, None) for m in detail.marks if m.y is not None and _drawable(m.y, detail.log_y)]
    drawn = [y for position in range(len(detail.lines)) for y in _curve(canvas, detail, position)]
    if drawn:
        _limit(canvas, drawn, log=detail.log_y)
        level = _reached(canvas, level, log=detail.log_y)
    else:
        canvas.say_empty()
    canvas.grid("y")
    canvas.along(level)
    axes.update_datalim([(x, drawn[0] if drawn else 1) for _, low, high in upright for x in (low, low if high is None else high)])
    # Values that cannot be drawn take their place on the axis too: a loss that ends as NaN ends where the run does.
    ends = [x for line in detail.lines for x in line.x if _drawable(x, detail.log_x)]
    axes.update_datalim([(x, drawn[0] if drawn else 1) for x in (min(ends), max(ends))] if ends else [])
    axes.margins(x=0.02)
    axes.autoscale_view(scaley=False)
    canvas.across(upright)
    canvas.name_upright_axis(detail.y_label)
    return canvas


def _curve(canvas: Canvas, detail: Series, position: int) -> list[float]:
    """Draw one line; its drawn values."""
    line = detail.lines[position]
    # Gaps stand where the drawable points alone would bridge what is missing.
    points = [(x, y) if _drawable(x, detail.log_x) and _drawable(y, detail.log_y) else _GAP for x, y in zip(line.x, line.y, strict=False)]
    shown = [point for point in points if point is not _GAP]
    if not shown:
        return []
    colour = LINES[line_colour(line, position)]
    xs, ys = zip(*_thin(points, canvas.width), strict=True)
    canvas.axes.plot(xs, ys, color=colour, linestyle=(0, DASHES[position % len(DASHES)]))
    measured = [point for i, point in enumerate(points) if point is not _GAP and i not in line.between]
    if len(shown) <= _DOTTED and measured:
        canvas.axes.plot(*zip(*measured, strict=True), color=colour, linestyle="none", marker="o")
    if canvas.width == _WIDE and measured:
        _hover(canvas, detail, line, measured, colour, f"hover-{position}")
    return [y for _, y in shown]


def _hover(canvas: Canvas, detail: Series, line: Line, shown: Sequence[_Point], colour: str, gid: str) -> None:
    chosen = shown[:: math.ceil(len(shown) / _HOVER_MARKS)]
    xs, ys = zip(*chosen, strict=True)
    canvas.axes.scatter(xs, ys, s=80, color=colour, linewidth=0, gid=gid)
    canvas.titles[gid] = [visible(f"{line.name}: {detail.y_label} {number(y)} at {detail.x_label} {number(x)}") for x, y in chosen]


def _limit(canvas: Canvas, values: Sequence[float], *, log: bool) -> None:
    """Keep a curve's exploding end from flattening the rest of a linear plot."""
    ordered = sorted(values)
    low, high, typical = ordered[0], ordered[-1], ordered[int(0.85 * (len(ordered) - 1))]
    if log:
        canvas.axes.set_ylim(low / 1.25, high * 1.25)
        return
    top = min(high, typical + 2 * (typical - low)) if typical > low else high
    room = 0.06 * (top - low) or abs(top) * 0.1 or 1
    canvas.axes.set_ylim(low - room, top + room)


def _reached(canvas: Canvas, rules: Sequence[Rule], *, log: bool) -> list[Rule]:
    """The marks that are seen, the axis made longer for those that lie a little beyond it; one far away would flatten the curves."""
    scale: Callable[[float], float] = math.log if log else float
    low, high = canvas.axes.get_ylim()
    room, span = 0.06 * (scale(high) - scale(low)), scale(high) - scale(low)
    near = [rule for rule in rules if scale(low) - span <= scale(rule[1]) <= scale(high) + span]
    back: Callable[[float], float] = math.exp if log else float
    ends = [scale(rule[1]) for rule in near]
    canvas.axes.set_ylim(back(min([scale(low), *(y - room for y in ends)])), back(max([scale(high), *(y + room for y in ends)])))
    return near


def _lying_bars(detail: Bars, width: int) -> Canvas:
    letters = min(max((len(name) for name in detail.labels), default=0), 36 if width == _WIDE else 16)
    values, rules = _bar_values(detail)
    height = (_TIGHT_BAR if len(values) > _ROOMY_BARS else _BAR_HEIGHT) * max(len(values), 2)
    canvas = Canvas.new(width, height, left=letters * CHARACTER + 14, below=detail.value_label)
    axes = canvas.axes
    base = _bar_scale(canvas, "x", detail, values, rules)
    colours = [_bar_colour(detail, i) for i in range(len(values))]
    for i, bar in enumerate(axes.barh(range(len(values)), [v - base for v in values], left=base, height=0.62, color=colours)):
        bar.set_gid(f"bar-{i}")
        canvas.titles[f"bar-{i}"] = [_bar_title(detail, i)]
    axes.set_yticks(range(len(values)), _tick_names(detail.labels[: len(values)], letters))
    axes.set_ylim(len(values) - 0.5, -0.5)
    canvas.grid("x")
    canvas.across(rules)
    return canvas


def _standing_bars(detail: Bars, width: int) -> Canvas:
    values, rules = _bar_values(detail)
    canvas = Canvas.new(width, 190 if width == _WIDE else 160, left=52)
    axes = canvas.axes
    base = _bar_scale(canvas, "y", detail, values, rules)
    shown = [i for i, v in enumerate(values) if math.isfinite(v)]
    thickness = 0.74 * axes.get_position().width * width / len(values)
    # Hundreds of bars as thick lines of one collection are drawn far sooner than one by one.
    axes.vlines(shown, base, [values[i] for i in shown], [_bar_colour(detail, i) for i in shown], linewidth=thickness, gid="bars")
    canvas.titles["bars"] = [_bar_title(detail, i) for i in shown]
    letters = int((width - 80) / 2 / CHARACTER)
    axes.set_xticks([0, len(values) - 1], [visible(shorten(detail.labels[i], letters)) for i in (0, len(values) - 1)])
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.set_xlim(-0.6, len(values) - 0.4)
    canvas.name_upright_axis(detail.value_label)
    canvas.grid("y")
    canvas.along(rules)
    return canvas


def _bar_values(detail: Bars) -> tuple[list[float], list[Rule]]:
    """The values, NaN where one cannot be drawn, and the marks on the value axis."""
    values = [v if _drawable(v, detail.log) else math.nan for v, _ in zip(detail.values, detail.labels, strict=False)]
    places = [(m.label, m.y if m.x is None else m.x, m.x2) for m in detail.marks]
    return values, [(label, low, high) for label, low, high in places if low is not None and _drawable(low, detail.log)]


def _bar_scale(canvas: Canvas, axis: str, detail: Bars, values: Sequence[float], rules: Sequence[Rule]) -> float:
    """Set the value axis so that bars and marks fit; the value where bars begin."""
    canvas.scale(axis, log=detail.log)
    if not any(map(math.isfinite, values)):
        canvas.say_empty()
    elif not any(values):
        canvas.say_empty("every value is 0")
    shown = [v for v in (*values, *(end for rule in rules for end in rule[1:])) if v is not None and math.isfinite(v)] or [1.0]
    set_limits = canvas.axes.set_xlim if axis == "x" else canvas.axes.set_ylim
    if detail.log:
        base: float = min(shown) / 2.5
        set_limits(base, max(shown) * 1.6)
        return base
    low, high = min(0.0, *shown), max(0.0, *shown)
    set_limits(low * 1.06, high * 1.06 or (0 if low else 1))
    return 0.0


def _tick_names(labels: Sequence[str], letters: int) -> list[str]:
    """The labels in at most ``letters``: first without the dotted beginning that all share, then without their ends."""
    shared = 0
    if any(len(label) > letters for label in labels):
        same = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*labels, strict=False))
        shared = "".join(column[0] for column in same).rfind(".") + 1
    names = [f"…{label[shared:]}" if shared else label for label in labels]
    cut = [name if len(name) <= letters else f"{name[: letters - 1].rstrip('.')}…" for name in names]
    # Names that differ in their ends alone are shortened in the middle.
    return [visible(name) for name in (cut if len(set(cut)) == len(set(names)) else [shorten(name, letters) for name in names])]


def _bar_colour(detail: Bars, position: int) -> str:
    return FAULT if position in detail.highlight else BAR


def _bar_title(detail: Bars, position: int) -> str:
    fault = " (at fault)" if position in detail.highlight else ""
    return visible(f"{detail.labels[position]}: {number(detail.values[position])}{fault}")


def _thin(points: list[_Point], width: int) -> list[_Point]:
    """No more points than a curve of ``width`` pixels can show: the lowest and the highest of each pixel's worth."""
    size = len(points) // width
    if size < 4:
        return points
    kept: list[_Point] = []
    for start in range(0, len(points), size):
        bucket = points[start : start + size]
        seen = [i for i, (_, y) in enumerate(bucket) if not math.isnan(y)]
        ends = {min(seen, key=lambda i: bucket[i][1]), max(seen, key=lambda i: bucket[i][1])} if seen else {0}
        kept += [bucket[i] for i in sorted(ends)]
    return kept


def _drawable(value: float, log: bool) -> bool:
    return math.isfinite(value) and (value > 0 or not log)
