"""What the adapters share: the check before the first step, and the watch that runs from there to the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from trainlint.errors import InputError, UsageError
from trainlint.finding import Severity
from trainlint.report import Report

__all__ = ["Preflight", "Watching"]


class Watching(Protocol):
    """What is told of a running training, such as the object that ``trainlint.watch`` makes."""

    def start(self) -> Any:
        """Begin to watch this process."""
        ...

    def step(self, **values: float) -> None:
        """Take values that the framework logged."""
        ...

    def finish(self) -> Any:
        """Stop watching."""
        ...


class Preflight:
    """Checks when a fit starts, and starts and ends the watch.

    Args:
        stop_on: ``error`` (default), ``warning`` or ``note``: a finding that severe raises FindingsError before the first step; None only reports.
        html: Where the report is written as a page; None for nowhere.
        only: Rules to run, by name or code; those of the project's settings, or all, when empty.
        ignore: Rules not to run.
        budget: Seconds for the check.
        watch: ``watch(model, optimizers) -> Watching``, such as ``trainlint.watch``; None watches nothing.

    Raises:
        UsageError: ``stop_on`` is no severity.
    """

    def __init__(
        self,
        *,
        stop_on: str | None = "error",
        html: str | Path | None = None,
        only: Sequence[str] = (),
        ignore: Sequence[str] = (),
        budget: float | None = None,
        watch: Callable[[Any, Any], Watching] | None = None,
    ) -> None:
        if stop_on not in (None, "error", "warning", "note"):
            msg = f"stop_on= takes 'error', 'warning', 'note' or None, not {stop_on!r}"
            raise UsageError(msg)
        self.stop_on, self.html, self.watch = stop_on, html, watch
        self.options: dict[str, Any] = {"only": only, "ignore": ignore, "budget": budget}
        self.report: Report | None = None
        """The report of the check, once it ran."""
        self.watching: Watching | None = None
        """The watch, while the fit runs."""
        self.watched: Any = None
        """What the watch said at its end; with ``trainlint.watch`` a report."""

    def start(self, model: Any, optimizers: Any, check: Callable[..., Report]) -> None:
        """Check, and begin to watch. What cannot be checked is said and stops nothing: the training itself may be sound.

        Raises:
            FindingsError: The check found what ``stop_on`` names.
        """
        try:
            self.report = check(**self.options)
        except InputError as error:
            say(f"the check before the fit was not run: {error}")
        else:
            self._tell(self.report)
        if self.watch is not None:
            self.watching = self.watch(model, optimizers)
            self.watching.start()

    def log(self, values: Any) -> None:
        """Pass on what the framework logged; what is no number is left out."""
        if self.watching is not None:
            self.watching.step(
                **{k: float(v) for k, v in dict(values).items() if isinstance(v, int | float) or getattr(v, "numel", lambda: 0)() == 1}
            )

    def end(self) -> None:
        """End the watch."""
        if self.watching is not None:
            self.watched = self.watching.finish()
            self.watching = None

    def _tell(self, report: Report) -> None:

        if self.html is not None:
            Path(self.html).write_text(report.to_html(), "utf-8")
        if self.stop_on is not None:
            report.raise_for_errors(Severity(self.stop_on))
        found = [f for f in report.failed if f.severity is not Severity.NOTE]
        for finding in found:
            say(str(finding))
        if not found:
            say(f"checked {report.subject.name} before the fit: clean")


def say(text: str) -> None:
    """A message to stderr, beside the framework's own."""
    sys.stderr.write(f"trainlint: {text}\n")
    sys.stderr.flush()
