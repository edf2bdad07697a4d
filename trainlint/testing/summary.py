"""The section at the end of a test run."""

from __future__ import annotations

import pytest

from trainlint.finding import Outcome, Severity
from trainlint.testing.scans import Scan, Scans, Script

__all__ = ["summarise"]


def summarise(terminal: pytest.TerminalReporter, scans: Scans) -> None:
    """Write a line for each script that was scanned, what it should look at first, and where the report is."""
    made = [(script, scan) for script in scans.scripts if (scan := scans.made(script)) is not None]
    if not made:
        return
    terminal.section("trainlint")
    for script, scan in made:
        terminal.line(f"{_name(terminal, script)}: {_verdict(scan)}")
        report = scan.report
        if report is None:
            continue
        for note in report.subject.notes:
            terminal.line(f"  {note}")
        if report.start_here is not None:
            place = f"{report.start_here.location}: " if report.start_here.location else ""
            terminal.line(f"  start here: {place}{report.start_here.code} {report.start_here.name}")
        mild = [f for f in report.failed if f not in report.at_or_above(_least(script))]
        for finding in mild:
            place = f"{finding.location}: " if finding.location else ""
            terminal.line(f"  {finding.severity.value}: {place}{finding.code} {finding.name}: {finding.message}")
        if scans.html is not None:
            terminal.line(f"  report: {scans.html_file(script)}")


def _least(script: Script) -> Severity:
    return Severity.ERROR if script.settings.fail_on == "never" else Severity(script.settings.fail_on)


def _name(terminal: pytest.TerminalReporter, script: Script) -> str:
    start = terminal.config.invocation_params.dir
    return str(script.path.relative_to(start)) if script.path.is_relative_to(start) else str(script.path)


def _verdict(scan: Scan) -> str:
    if scan.report is None:
        return "could not be run"
    counted = [
        f"{n} {word}{'' if n == 1 else 's'}"
        for word in ("error", "warning", "note")
        if (n := sum(f.severity.value == word for f in scan.report.failed))
    ]
    passed = sum(f.outcome is Outcome.PASS for f in scan.report)
    silent = sum(f.outcome is not Outcome.PASS and not f.failed for f in scan.report)
    early = ", but its run ended early" if scan.problem else ""
    return f"{', '.join(counted) or 'clean'}; {passed} rules passed, {silent} not judged, in {scan.report.cost.seconds:.0f} s{early}"
