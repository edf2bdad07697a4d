"""A training script as a collector, and each rule as an item of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from trainlint.errors import FindingsError, TrainlintError
from trainlint.finding import Finding, Outcome, Severity
from trainlint.testing.scans import Scans, Script

__all__ = ["RUNS", "RuleItem", "RunsItem", "ScriptFile"]

#: Name of the item that says whether the script could be run.
RUNS = "runs"


class ScriptFile(pytest.File):
    """One script."""

    def __init__(self, *, script: Script, scans: Scans, **node: Any) -> None:
        super().__init__(**node)
        self.script, self.scans = script, scans

    def collect(self) -> Iterator[pytest.Item]:
        """One item for the run, and one for each rule that the project selects. The script is not run for that."""
        from trainlint.registry import load_catalogue

        try:
            settings = self.script.settings
            catalogue = load_catalogue().choose(settings.select, settings.ignore, settings.options)
        except TrainlintError as error:
            raise self.CollectError(f"trainlint: {error}") from None
        yield RunsItem.from_parent(self, name=RUNS)
        for rule in catalogue.rules:
            yield RuleItem.from_parent(self, name=rule.name)


class _ScriptItem(pytest.Item):
    """What the items of a script share."""

    parent: ScriptFile

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The finding in short; a traceback would show only our own lines."""
        if isinstance(excinfo.value, TrainlintError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """What stands over a failure."""
        return self.path, 0, f"{self.path.name}: {self.name}"


class RunsItem(_ScriptItem):
    """Whether the script could be run to enough training steps."""

    def runtest(self) -> None:
        """Raise FindingsError when it could not."""
        scan = self.parent.scans.of(self.parent.script)
        if scan.problem:
            raise FindingsError(scan.problem)


class RuleItem(_ScriptItem):
    """One rule on the script."""

    def _skip(self, reason: str) -> None:
        raise pytest.skip.Exception(reason, _use_item_location=True)

    def runtest(self) -> None:
        """Raise FindingsError for a failure that counts; skip what was not judged."""
        scan = self.parent.scans.of(self.parent.script)
        if scan.report is None or (scan.problem and scan.report[self.name].outcome is Outcome.NOT_RUN):
            if any(isinstance(item, RunsItem) and item.parent is self.parent for item in self.session.items):
                self._skip(f"the script could not be run; see {self.parent.nodeid}::{RUNS}")
            raise FindingsError(scan.problem)
        finding = scan.report[self.name]
        self.user_properties += _properties(finding)
        if finding.outcome in (Outcome.NOT_RUN, Outcome.BLOCKED):
            self._skip(finding.reason)
        fail_on = self.parent.script.settings.fail_on
        if fail_on != "never" and finding in scan.report.at_or_above(Severity(fail_on)):
            raise FindingsError(str(finding))


def _properties(finding: Finding) -> list[tuple[str, object]]:
    """What the JUnit file keeps of a finding."""
    place = [("location", str(finding.location))] if finding.location else []
    return [
        ("code", finding.code),
        ("outcome", finding.outcome.value),
        *([("severity", finding.severity.value)] if finding.failed else []),
        *place,
    ]
