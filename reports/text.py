"""The report for a terminal: location, code, name, message, the user's line, the fix. The root cause comes first."""

from __future__ import annotations

import io

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from trainlint.choosing import held_back
from trainlint.details import Table
from trainlint.diffs import hunks, is_example
from trainlint.finding import Finding, Fix, Outcome
from trainlint.registry import load_catalogue
from trainlint.report import Cost, Report

from .phrases import counts, frame, headline, label, number, seconds, state, visible

__all__ = ["TextRenderer"]

_STYLES = {
    "error": "bold red",
    "warning": "bold yellow",
    "note": "bold blue",
    "known": "cyan",
    "pass": "green",
    "blocked": "magenta",
    "ignored": "cyan",
    "not-run": "dim",
}
_SIGNS = {"known": "=", "pass": "✓", "blocked": "⊘", "ignored": "~", "not-run": "–"}


class TextRenderer:
    """Plain text, coloured when the terminal wants it."""

    name = "text"
    suffix = ".txt"

    def render(self, report: Report, *, color: bool = False, width: int = 100, verbosity: int = 0) -> str:
        """``verbosity`` below 0 shows failures only, above 0 also evidence, sources, and passed and not-run rules with their reasons."""
        buffer = io.StringIO()
        console = Console(
            file=buffer,
            width=max(width, 40),
            force_terminal=color,
            force_jupyter=False,
            # Standard colours follow the reader's own terminal theme.
            color_system="standard" if color else None,
            no_color=not color,
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
        )
        page = _Page(console, report, verbosity)
        page.failures()
        if verbosity >= 0:
            page.rest()
        return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


class _Page:
    """One rendering onto one console."""

    def __init__(self, console: Console, report: Report, verbosity: int) -> None:
        self.console = console
        self.report = report
        self.verbosity = verbosity

    def failures(self) -> None:
        first = self.report.start_here
        others = [f for f in self.report.failed if f is not first and not f.known]
        titled = self.verbosity >= 0
        if first:
            self._title("Start here", show=titled)
            self._failure(first)
        if others:
            self._title("Also found" if first else "Found", show=titled)
        for finding in others:
            self._failure(finding)

    def rest(self) -> None:
        self._listing("Known", [f for f in self.report.failed if f.known])
        if self.verbosity > 0:
            for title, outcome in (("Blocked", Outcome.BLOCKED), ("Passed", Outcome.PASS), ("Not run", Outcome.NOT_RUN)):
                self._listing(title, [f for f in self.report if f.outcome is outcome])
        self._comparison()
        for note in self.report.subject.notes:
            self._say(("note: ", "bold"), note)
        if self.report.subject.notes:
            self.console.print()
        self._summary()

    def _comparison(self) -> None:
        """The configurations that were compared, where that was asked for."""
        found = next((d for d in self.report.overview if isinstance(d, Table) and d.columns[:1] == ("configuration",)), None)
        if found is None:
            return
        from rich.table import Table as Grid

        self._title("Before and after", show=True)
        grid = Grid(box=None, pad_edge=False, header_style="bold")
        for column in found.columns:
            grid.add_column(Text(column), justify="left" if column == "configuration" else "right")
        for row in found.rows:
            grid.add_row(*(Text("" if cell is None else cell if isinstance(cell, str) else number(cell)) for cell in row))
        self.console.print(grid)
        self._say((found.title, "dim"))
        self.console.print()

    def _summary(self) -> None:
        verdict = headline(self.report)
        tally = counts(self.report)
        self._say((verdict.title, _STYLES[verdict.state]), " in ", self.report.subject.name)
        if self.report.subject.status != "recorded" or self.report.subject.too_little:
            self._say(verdict.text)
        line = Text(", ").join(Text(text, _STYLES[key]) for key, text in tally.items())
        self.console.print(line + Text(f"{' · ' if tally else ''}{_cost(self.report.cost)}", "dim"))
        if self.verbosity > 0 and self.report.cost.probes:
            self._say(("Time by measurement:", "dim"))
            for probe, spent in self.report.cost.probes.items():
                self._say((f"  {label(probe)} {seconds(spent)}", "dim"))
        if first := self.report.start_here or next(iter(self.report.failed), None):
            self._say(("`trainlint explain ", "dim"), (first.name, "dim"), ("` says more.", "dim"))

    def _failure(self, finding: Finding) -> None:
        place = str(finding.location or self.report.subject.name)
        style = _STYLES[finding.severity.value]
        head = _text((place, "bold"), ": ", (finding.severity.value, style), f" {finding.code} ", (finding.name, "bold"))
        self.console.print(head, soft_wrap=True)
        self._say(finding.message)
        self._frame(finding)
        if self.verbosity > 0:
            for key, value in finding.evidence.items():
                self._say((f"  = {label(key)}: ", "cyan"), number(value))
            self._labelled("why", finding.why)
            self._labelled("source", finding.source)
        proof = finding.proof
        if finding.fix:
            doubtful = proof is not None and proof.tried and not proof.helped
            self._labelled("idea" if doubtful else "help", finding.fix.summary)
            if is_example(finding.fix.code, finding.fix.diff):
                self._say(("  for example:", "dim"))
            self._code(hunks(finding.fix.diff) or finding.fix.code)
            if finding.fix.diff and not doubtful:
                self._say((f"  {self._promise(finding, finding.fix)}", "dim"))
        if proof is not None:
            self._labelled(
                "tried" if proof.tried else "not tried", proof.summary + ("" if proof.helped or not proof.tried else " It did not help.")
            )
        self.console.print()

    def _promise(self, finding: Finding, fix: Fix) -> str:
        """Which command makes the change of a fix, or that none does and why."""
        reason = held_back(finding, self.report, load_catalogue().explains, safe=fix.safe)
        if reason:
            return f"`trainlint scan --diff` prints this change; `--fix` does not make it: {reason}."
        return f"`trainlint scan --fix{'' if fix.safe else ' --unsafe-fixes'}` makes this change."

    def _frame(self, finding: Finding) -> None:
        code = frame(finding)
        if code is None:
            return
        lines = code.text.splitlines()
        margin = len(str(code.first_line + len(lines) - 1)) + 1
        bar = Text(f"{'':{margin}} |", "cyan")
        self.console.print(bar)
        for line_number, line in enumerate(lines, code.first_line):
            mark = ">" if line_number == code.highlight and len(lines) > 1 else " "
            gutter = Text(f"{mark}{line_number:>{margin - 1}} | ", "bold cyan" if line_number == code.highlight else "cyan")
            self._verbatim(gutter + _python(line))
        self.console.print(bar)

    def _code(self, code: str) -> None:
        for line in code.splitlines():
            style = {"+": "green", "-": "red"}.get(line[:1])
            self._verbatim(Text("    ") + (Text(visible(line), style) if style else _python(line)))

    def _listing(self, title: str, chosen: list[Finding]) -> None:
        if not chosen:
            return
        self._title(title)
        for finding in chosen:
            said = finding.reason or (f"{finding.location}: " if finding.known and finding.location else "") + finding.message
            self._say((_SIGNS[state(finding)], _STYLES[state(finding)]), f" {finding.code} ", (finding.name, "bold"), f"  {said}")
        self.console.print()

    def _title(self, words: str, *, show: bool = True) -> None:
        if show:
            self._say((words, "bold underline"))
            self.console.print()

    def _labelled(self, words: str, text: str) -> None:
        if text:
            self._say((f"{words}: ", "bold cyan"), text)

    def _say(self, *parts: str | tuple[str, str]) -> None:
        self.console.print(_text(*parts))

    def _verbatim(self, line: Text) -> None:
        line.rstrip()
        self.console.print(line, soft_wrap=True)


def _text(*parts: str | tuple[str, str]) -> Text:
    """Words of one line, each made harmless, some with a style."""
    return Text.assemble(*(visible(p) if isinstance(p, str) else (visible(p[0]), p[1]) for p in parts))


def _python(line: str) -> Text:
    shown = Syntax("", "python", theme="ansi_dark").highlight(visible(line))
    shown.rstrip()
    return shown


def _cost(cost: Cost) -> str:
    steps = "" if cost.step_equivalents is None else f" ({number(round(cost.step_equivalents))} step-equivalents)"
    return seconds(cost.seconds) + steps
