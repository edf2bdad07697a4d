"""A matplotlib figure laid out in pixels, with text above the plot and colours left for the page to fill in.

Figures have 72 dots an inch, so one point is one pixel; a page shows them at that size or a little smaller.
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from .phrases import number, visible
from .svg import inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BAR", "CHARACTER", "FAULT", "LINES", "Canvas", "Rule", "drawing", "shorten"]

#: Stand-ins that matplotlib writes and the page replaces by its own variables, so that dark mode recolours them.
INK, MUTED, GRID, BAR, FAULT, BAND = (f"#0000a{i}" for i in range(6))
LINES = tuple(f"#0000b{i}" for i in range(6))
_COLOURS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    BAR: "var(--chart-1)",
    FAULT: "var(--error)",
    BAND: "var(--pass)",
    **{colour: f"var(--chart-{i})" for i, colour in enumerate(LINES, 1)},
}

_SETTINGS: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "trainlint", "text.parse_math": False, "font.size": 12, "font.family": "DejaVu Sans",
    "axes.spines.left": False, "axes.spines.right": False, "axes.spines.top": False, "axes.edgecolor": GRID, "axes.axisbelow": True,
    "xtick.color": MUTED, "ytick.color": MUTED, "text.color": MUTED, "axes.labelcolor": MUTED, "axes.linewidth": 1,
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.major.pad": 6, "ytick.major.pad": 6, "figure.dpi": 72, "savefig.dpi": 72,
    "lines.solid_capstyle": "round", "lines.linewidth": 2, "lines.markersize": 4,
}  # fmt: skip

CHARACTER = 6.4
"""Mean width of a character of 12 px sans-serif text."""
_ROW = 17
_MOST_ROWS = 4

#: A labelled line at ``low``, or a band from ``low`` to ``high``.
Rule = tuple[str, float, float | None]
_Pair = tuple[float, float]


@contextmanager
def drawing() -> Iterator[None]:
    """Within this, figures are drawn in the page's style; imports matplotlib."""
    from matplotlib import rc_context

    with rc_context(_SETTINGS), warnings.catch_warnings():
        # The page's own fonts draw the letters, so a glyph that matplotlib's font lacks is no loss.
        warnings.simplefilter("ignore")
        yield


@dataclass
class Canvas:
    """A figure with one pair of axes."""

    width: int
    height: int
    plot_top: int
    figure: Figure
    axes: Axes
    rows: int = 0
    """Rows of text above the plot that are in use."""
    titles: dict[str, Sequence[str]] = field(default_factory=dict)
    """Hover texts of the marks in each group, by its gid."""

    @classmethod
    def new(cls, width: int, plot_height: int, *, left: float, below: str = "") -> Canvas:
        """An empty figure; ``left`` is the room for the labels of the upright axis, ``below`` what the level one shows."""
        from matplotlib.figure import Figure

        top, right = _ROW * _MOST_ROWS + 8, 14
        lines = _wrapped(below, int((width - left - right) / CHARACTER))
        bottom = 26 + 16 * len(lines)
        height = top + plot_height + bottom
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        figure.patch.set_visible(False)
        axes = figure.add_axes((left / width, bottom / height, (width - left - right) / width, plot_height / height))
        axes.patch.set_visible(False)
        axes.set_xlabel(visible("\n".join(lines)), labelpad=6)
        return cls(width, height, top, figure, axes)

    def markup(self, summary: str, prefix: str) -> Markup:
        """The drawing as inline SVG, less the rows at the top that no text uses."""
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        across = int(self.axes.get_position().width * self.width / (9 * CHARACTER))
        for side, most in ((self.axes.xaxis, across), (self.axes.yaxis, 6)):
            if side.get_scale() == "log":
                low, high = sorted(side.get_view_interval())
                side.set_ticks(_log_ticks(low, high, most))
        buffer = io.StringIO()
        FigureCanvasSVG(self.figure).print_figure(
            buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
        spare = self.plot_top - _ROW * self.rows - 8
        return inline(buffer.getvalue(), top=spare, summary=summary, prefix=prefix, colours=_COLOURS, titles=self.titles)

    def scale(self, axis: str, *, log: bool) -> None:
        """Set the scale of the ``x`` or ``y`` axis, with few and short tick labels."""
        from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

        side = self.axes.xaxis if axis == "x" else self.axes.yaxis
        if log:
            (self.axes.set_xscale if axis == "x" else self.axes.set_yscale)("log")
        side.set_major_locator(MaxNLocator(5))
        side.set_minor_locator(NullLocator())
        side.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))

    def grid(self, axis: str) -> None:
        """Faint lines at the ticks of one axis."""
        (self.axes.xaxis if axis == "x" else self.axes.yaxis).grid(visible=True, color=GRID, linewidth=1)

    def name_upright_axis(self, text: str) -> None:
        """The label of the upright axis, above everything else."""
        for line in reversed(_wrapped(text, int(self.width / CHARACTER), most=max(_MOST_ROWS - self.rows, 1))):
            self._write(0, self.rows, line)

    def across(self, rules: Iterable[Rule]) -> None:
        """Upright lines and bands with their labels above the plot, in as many rows as they need."""
        ends = [-math.inf] * (_MOST_ROWS - 1)
        for label, low, high in sorted(rules, key=lambda rule: rule[1]):
            if high is None:
                self.axes.axvline(low, color=INK, linewidth=1.5, dashes=(4, 3))
            else:
                self.axes.axvspan(low, high, color=BAND, alpha=0.14, linewidth=0, zorder=0.5)
            edges = [float(self.axes.transData.transform((x, 1))[0]) for x in (low, low if high is None else high)]
            text = shorten(label, int((self.width - 20) / CHARACTER))
            half = len(text) * CHARACTER / 2
            centre = min(max(sum(edges) / 2, half + 2), self.width - half - 2)
            row = next((i for i, end in enumerate(ends) if end < centre - half), len(ends) - 1)
            ends[row] = centre + half + 8
            self._write(centre, row, text, INK if high is None else BAND, "center")

    def along(self, rules: Iterable[Rule]) -> None:
        """Level lines and bands, labelled inside the plot at its right end."""
        for label, low, high in rules:
            if high is None:
                self.axes.axhline(low, color=INK, linewidth=1.5, dashes=(4, 3))
            else:
                self.axes.axhspan(low, high, color=BAND, alpha=0.14, linewidth=0, zorder=0.5)
            place, offset = (1, low if high is None else high), (-2, 4 if high is None else -14)
            self._note(label, place, offset, "right", INK if high is None else BAND)

    def say_empty(self, text: str = "no finite values to draw") -> None:
        """Say so where there is nothing to draw."""
        self._note(text, (0.5, 0.5), (0, 0), "center", MUTED, height="axes fraction")

    def _note(self, text: str, place: _Pair, offset: _Pair, align: str, colour: str, height: str = "data") -> None:
        shown = visible(shorten(text, 40))
        self.axes.annotate(shown, place, offset, xycoords=("axes fraction", height), textcoords="offset points", ha=align, color=colour)

    def _write(self, x: float, row: int, text: str, colour: str = MUTED, align: str = "left") -> None:
        """Text in one of the rows above the plot, the lowest of which is 0."""
        self.rows = max(self.rows, row + 1)
        self.figure.text(x / self.width, 1 - (self.plot_top - 9 - _ROW * row) / self.height, visible(text), color=colour, ha=align)


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """A few round numbers on a logarithmic scale, even where it spans less than a decade."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1, 2, 5), (1, 3), (1,)):
        ticks = [m * 10.0**e for e in decades for m in multiples if low <= m * 10.0**e <= high]
        if len(ticks) <= most:
            break
    if len(ticks) > most:
        return ticks[:: math.ceil(len(ticks) / most)]
    if len(ticks) >= min(most, 3) or (ticks and high >= 10 * low):
        return ticks
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)][:: max(1, math.ceil((high - low) / step / 5))]


def _tick(value: float) -> str:
    """A short number; what the scale's arithmetic left behind the sixth digit is dropped."""
    if abs(value) >= 1e6:
        return f"{value:.3g}".replace("e+0", "e").replace("e+", "e")
    return number(float(f"{value:.6g}"))


def _wrapped(text: str, letters: int, *, most: int = 3) -> list[str]:
    """``text`` in lines of at most ``letters``, the last of them shortened where there would be too many."""
    lines = textwrap.wrap(text, max(letters, 8), break_on_hyphens=False)
    return [*lines[: most - 1], shorten(" ".join(lines[most - 1 :]), letters)] if len(lines) > most else lines


def shorten(text: str, letters: int) -> str:
    """``text`` with its middle left out when it is longer than ``letters``."""
    if len(text) <= letters:
        return text
    head = max(1, (letters - 1) // 3)
    return f"{text[:head]}…{text[-(letters - 1 - head) :]}"
