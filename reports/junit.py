"""The report as JUnit XML, for the test pages of CI servers: one test case for each rule.

A test case fails when its rule makes the run fail (``--fail-on``). A milder failure, or one that a baseline knows, passes and
says its piece as output, so that the page agrees with the exit code.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from trainlint.diffs import is_example
from trainlint.finding import Finding, Outcome
from trainlint.report import Report

from .phrases import headline, label, number, state, visible

__all__ = ["JunitRenderer"]


class JunitRenderer:
    """One test suite: a case for each rule, and one for the run itself when it ended early or too little of it was seen."""

    name = "junit"
    suffix = ".xml"

    def render(self, report: Report, *, color: bool = False, width: int = 100, verbosity: int = 0) -> str:  # noqa: ARG002
        """The whole suite; the options of terminals change nothing."""
        subject = visible(report.subject.name)
        failing = {f.code for f in report.failing}
        silent = [f for f in report if f.outcome in (Outcome.BLOCKED, Outcome.NOT_RUN)]
        crashed = report.subject.status != "recorded"
        short = report.subject.too_little and not crashed
        totals = {
            "tests": str(len(report.findings) + crashed + short),
            "failures": str(len(failing)),
            "errors": str(int(crashed)),
            "skipped": str(len(silent) + short),
            "time": f"{report.cost.seconds:.3f}",
        }
        root = ET.Element("testsuites", {"name": "trainlint", **totals})
        suite = ET.SubElement(root, "testsuite", {"name": f"trainlint {subject}", **totals})
        properties = ET.SubElement(suite, "properties")
        for key, value in {"trainlint": report.version, "command": report.subject.command, **report.subject.environment}.items():
            ET.SubElement(properties, "property", {"name": visible(key), "value": visible(value)})
        if crashed:
            case = ET.SubElement(suite, "testcase", {"classname": subject, "name": "run"})
            error = ET.SubElement(
                case, "error", {"message": f"The run ended early: {visible(report.subject.status)}", "type": visible(report.subject.status)}
            )
            error.text = visible("\n".join(report.subject.notes))
        if short:
            case = ET.SubElement(suite, "testcase", {"classname": subject, "name": "run", "time": "0"})
            verdict = headline(report)
            ET.SubElement(case, "skipped", {"message": visible(f"{verdict.title}. {verdict.text}")})
        for finding in report:
            _case(suite, finding, subject, fails=finding.code in failing)
        ET.indent(root, " ")
        return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _case(suite: ET.Element, finding: Finding, subject: str, *, fails: bool) -> None:
    names = {"classname": f"{subject}.{finding.stage.title}", "name": f"{finding.code} {finding.name}"}
    if finding.location:
        names |= {"file": finding.location.container, "line": str(finding.location.line)}
    case = ET.SubElement(suite, "testcase", {key: visible(value) for key, value in names.items()})
    if fails:
        failure = ET.SubElement(case, "failure", {"type": finding.severity.value, "message": visible(finding.message)})
        failure.text = _words(finding)
    elif finding.outcome in (Outcome.BLOCKED, Outcome.NOT_RUN):
        ET.SubElement(case, "skipped", {"message": visible(f"{finding.outcome.value}: {finding.reason}")})
    elif finding.failed:
        ET.SubElement(case, "system-out").text = f"{state(finding)}: {_words(finding)}"
    else:
        ET.SubElement(case, "system-out").text = visible(finding.message)


def _words(finding: Finding) -> str:
    """Everything a reader needs to mend it, as plain text."""
    place = finding.location
    lines = [
        finding.message,
        f"{place}: {place.text}" if place else "",
        *(f"{label(key)}: {number(value)}" for key, value in finding.evidence.items()),
    ]
    if finding.fix:
        lines += [
            f"Fix: {finding.fix.summary}{' For example:' if is_example(finding.fix.code, finding.fix.diff) else ''}",
            finding.fix.diff or finding.fix.code,
        ]
    if finding.proof and finding.proof.tried:
        lines.append(f"Tried: {finding.proof.summary}")
    lines.append(f"See: trainlint explain {finding.name}")
    return visible("\n".join(filter(None, lines)))
