"""A watch in the process that trains: installs the hooks, judges now and then, says what is certain, and stops a doomed run."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from trainlint.evidence import Evidence, EvidenceWriter
from trainlint.finding import Finding, Severity
from trainlint.measurements import Ranks
from trainlint.notebook import Notebook
from trainlint.record.frames import Frames
from trainlint.settings import Settings
from trainlint.watching.gauges import Gauge
from trainlint.watching.history import History
from trainlint.watching.hooks import watched
from trainlint.watching.judging import progress_line, rules_of_a_watch, verdicts
from trainlint.watching.measuring import measurements, rank_facts
from trainlint.watching.monitor import Monitor, StopTraining
from trainlint.watching.ranks import Place, gather, leave_word

__all__ = ["Session"]

#: Share of the run's time that measuring and judging may take.
_SHARE = 0.001
#: Seconds between two lines of progress: the first ones come sooner.
_PROGRESS = (2.0, 30.0)


class Session:
    """One watch. ``say`` is told of progress and of each new verdict; ``writer`` gets the measurements as they are made."""

    def __init__(
        self, settings: Settings, *, folder: Path | None, place: Place, say: Callable[[str, str], None], stop_on: str | None = None,
        writer: EvidenceWriter | None = None, notebook: Notebook | None = None,
    ) -> None:  # fmt: skip
        own = folder if folder is None or not place.rank else folder / f"rank-{place.rank}"
        self.folder = folder
        self.place = place
        self.settings = settings
        self.say = say
        self.stop_on = Severity(stop_on) if stop_on else None
        self.writer = writer
        self.evidence = Evidence()
        self.history = History(own / "history.jsonl" if own is not None else None)
        self.monitor = Monitor(self.history, Frames(notebook=notebook), place)
        self.monitor.on_news = self._news
        self.catalogue = rules_of_a_watch(settings, several=place.world > 1)
        self.stopped_for: Finding | None = None
        self._gauge = Gauge(_SHARE)
        self._said: set[tuple[str, str]] = set()
        self._spoke, self._pause = time.monotonic(), _PROGRESS[0]
        self._stack = ExitStack()

    def start(self) -> None:
        """Begin to listen."""
        self._stack.enter_context(watched(self.monitor))
        self._share("running")

    def finish(self, status: str) -> Evidence:
        """Stop listening, and measure a last time."""
        monitor = self.monitor
        monitor.on_news = lambda urgent: None
        monitor.finish()
        self._stack.close()
        self._measure()
        self._share(status)
        self.history.close()
        return self.evidence

    def _news(self, urgent: bool) -> None:
        monitor = self.monitor
        now = time.monotonic()
        if now - self._spoke > self._pause and monitor.steps:
            self._spoke, self._pause = now, min(2 * self._pause, _PROGRESS[1])
            self.say("progress", progress_line(self.history, monitor.steps, monitor.epoch, monitor.step_seconds))
        if not urgent and not self._gauge.due(monitor.steps):
            return
        with self._gauge.reading(monitor.steps, monitor.quickest):
            self._measure()
            self._share("running")
            found = verdicts(self.catalogue, self.evidence)
        for finding in found:
            key = (finding.name, finding.severity.value)
            if key in self._said:
                continue
            self._said.add(key)
            place = f"{finding.location}: " if finding.location else ""
            self.say("verdict", f"{place}{finding.severity.value} {finding.code} {finding.name}: {finding.message}")
        if self.stop_on is not None and self.stopped_for is None:
            self.stopped_for = next((f for f in found if f.severity.rank <= self.stop_on.rank), None)
            if self.stopped_for is not None:
                taken = f"after {monitor.steps:,} whole step{'' if monitor.steps == 1 else 's'}"
                self.say("verdict", f"stopping the run {taken}: {self.stopped_for.name}")
        if self.stopped_for is not None:
            raise StopTraining(self.stopped_for.message)

    def _measure(self) -> None:
        for item in measurements(self.monitor):
            self._take(item)
        if self.place.world > 1 and not self.place.rank and self.folder is not None:
            self._take(gather(self.folder, self.place))
        self.evidence.status["notes"] = list(self.monitor.notes)

    def _take(self, item: Any) -> None:
        self.evidence.measurements[item.name] = item
        if self.writer is not None and not isinstance(item, Ranks):
            self.writer.measurement(item)

    def _share(self, status: str) -> None:
        if self.place.world > 1 and self.folder is not None:
            leave_word(self.folder, self.place, rank_facts(self.monitor, status))
