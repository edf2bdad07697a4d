"""The report as SARIF 2.1.0, for code-scanning pages and editors.

Beyond the schema it holds what GitHub's code scanning asks for: a short and a full description and a help text for each
rule, a place for each result, and a fingerprint that stays the same when lines move.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trainlint.baseline import anchor
from trainlint.errors import UnknownRuleError
from trainlint.finding import Finding, Outcome, Severity
from trainlint.registry import load_catalogue
from trainlint.report import Report
from trainlint.serialise import to_builtins

from .phrases import frame, visible

__all__ = ["SarifRenderer", "replacements"]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_MOST_WORDS = 1024
"""Characters of a description that GitHub takes."""
_PRIORITY = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "recommendation"}
_HEADER = re.compile(r"--- (?P<old>[^\t\n]+).*\n\+\+\+ (?P<new>[^\t\n]+)")
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@")

_Object = dict[str, Any]


class SarifRenderer:
    """One run with a result for each failure, ignored ones as suppressed; what passed is a rule without a result, what was not run a notification."""

    name = "sarif"
    suffix = ".sarif"

    def render(self, report: Report, *, color: bool = False, width: int = 100, verbosity: int = 0) -> str:  # noqa: ARG002
        """The whole log; the options of terminals change nothing."""
        index = {finding.code: i for i, finding in enumerate(report)}
        evidence = {entry["code"]: entry["evidence"] for entry in to_builtins(report)["findings"]}
        run = {
            "tool": {"driver": {"name": "trainlint", "semanticVersion": visible(report.version), "rules": [_rule(f) for f in report]}},
            "automationDetails": {"id": f"trainlint/{visible(report.subject.name)}/"},
            "columnKind": "unicodeCodePoints",
            "invocations": [
                {
                    "executionSuccessful": report.subject.status == "recorded",
                    "toolExecutionNotifications": [*_status(report), *(_unseen(f, index) for f in report if f.reason and not f.ignored)],
                }
            ],
            "results": [_result(f, report, index[f.code], evidence[f.code]) for f in (*report.failed, *(f for f in report if f.ignored))],
        }
        return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1, ensure_ascii=False) + "\n"


def _rule(finding: Finding) -> _Object:
    """The rule behind a finding, with its page where the rule is installed."""
    try:
        rule = load_catalogue().find(finding.code)
        summary, page, worst = rule.summary, rule.page(), rule.severity
    except UnknownRuleError:
        summary, page, worst = finding.name, finding.why, finding.severity
    why = visible(finding.why) or visible(summary)
    return {
        "id": visible(finding.code),
        "name": visible(finding.name),
        "shortDescription": {"text": _short(visible(summary))},
        "fullDescription": {"text": _short(why)},
        "help": {"text": page or why, "markdown": page or why},
        "defaultConfiguration": {"level": worst.value},
        "properties": {"tags": ["training", finding.stage.title.lower()], "precision": "high", "problem.severity": _PRIORITY[worst]},
    }


def _result(finding: Finding, report: Report, rule: int, evidence: _Object) -> _Object:
    said = [finding.message, finding.fix.summary if finding.fix else ""]
    proved = f" {finding.proof.summary}" if finding.proof and finding.proof.helped else ""
    result: _Object = {
        "ruleId": visible(finding.code),
        "ruleIndex": rule,
        "level": finding.severity.value,
        "message": {"text": visible(" ".join(_sentence(s) for s in said if s) + proved)},
        "locations": [_location(finding, report)],
        "partialFingerprints": {"primaryLocationLineHash": f"{_fingerprint(finding, report)}:1"},
        "properties": {"stage": finding.stage.title, "evidence": _harmless(evidence)},
    }
    if any(f.known for f in report):
        result["baselineState"] = "unchanged" if finding.known else "new"
    if finding.known:
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": "listed in the baseline"}]
    if finding.ignored:
        result["suppressions"] = [{"kind": "inSource", "status": "accepted", "justification": visible(finding.reason)}]
    in_file = finding.location is None or finding.location.cell is None  # of a notebook's cell no line of the file is known
    if finding.fix and in_file and (header := _HEADER.match(finding.fix.diff)):
        old, new = header["old"], header["new"]
        file = new[2:] if old.startswith("a/") and new == f"b/{old[2:]}" else new
        change = {"artifactLocation": _artifact(file), "replacements": list(replacements(finding.fix.diff))}
        result["fixes"] = [{"description": {"text": visible(finding.fix.summary)}, "artifactChanges": [change]}]
    return result


def _location(finding: Finding, report: Report) -> _Object:
    """Where the fault is: its line; else the first line of the script; else only the name of what was checked."""
    place = finding.location
    if place is None:
        name = visible(report.subject.name)
        if not name.endswith((".py", ".ipynb")):
            return {"logicalLocations": [{"fullyQualifiedName": name}]}
        first: _Object = {"region": {"startLine": 1}} if name.endswith(".py") else {}
        return {"physicalLocation": {"artifactLocation": _artifact(name), **first}}
    if place.cell is not None:
        logical = [{"fullyQualifiedName": f"cell {place.cell}, line {place.line}"}]
        return {"physicalLocation": {"artifactLocation": _artifact(place.file)}, "logicalLocations": logical}
    line, text = max(place.line, 1), _source(finding)
    region: _Object = {"startLine": line}
    if text:
        indent = len(text) - len(text.lstrip())
        region |= {"startColumn": indent + 1, "endLine": line, "endColumn": len(text) + 1, "snippet": {"text": text}}
    location: _Object = {"physicalLocation": {"artifactLocation": _artifact(place.file), "region": region}}
    if place.function:
        location["logicalLocations"] = [{"fullyQualifiedName": visible(place.function), "kind": "function"}]
    return location


def _source(finding: Finding) -> str:
    """The line at fault, with its indentation where the report holds the lines around it."""
    shown, place = frame(finding), finding.location
    lines = visible(shown.text).split("\n") if shown else []
    wanted = place.line - shown.first_line if shown and place else -1
    return lines[wanted] if 0 <= wanted < len(lines) else ""


def _artifact(file: str) -> _Object:
    """A file below the working directory relative to it, as code-scanning pages want it; any other with its whole address."""
    path = Path(visible(file))
    if path.is_absolute():
        return {"uri": path.as_uri()}
    return {"uri": quote(path.as_posix()), "uriBaseId": "%SRCROOT%"}


def _fingerprint(finding: Finding, report: Report) -> str:
    """Names the fault by rule, file and the text of its line: neither line numbers nor measured values, which change from run to run."""
    file = Path(finding.location.file if finding.location else report.subject.name).as_posix()
    return hashlib.sha256("\0".join((finding.code, file, anchor(finding))).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def replacements(diff: str) -> Iterator[_Object]:
    """The changes of a unified diff, one for each stretch of changed lines."""
    line, removed, added = 0, 0, list[str]()
    for text in [*diff.split("\n"), " "]:
        if text.startswith(("--- ", "+++ ")) and not line:
            continue
        if text.startswith("-"):
            removed += 1
        elif text.startswith("+"):
            added.append(text[1:])
        else:
            if removed or added:
                # Lines 3 to 4 are what lies between the starts of lines 3 and 5; nothing lies between 3 and 3.
                region = {"startLine": line, "startColumn": 1, "endLine": line + removed, "endColumn": 1}
                yield {"deletedRegion": region, "insertedContent": {"text": "".join(f"{visible(a)}\n" for a in added)}}
            line += removed
            removed, added = 0, []
            if hunk := _HUNK.match(text):
                # A hunk that removes nothing names the line before it.
                line = int(hunk[1]) + (hunk[2] == "0")
            elif text.startswith(" ") or not text:
                line += 1


def _status(report: Report) -> Iterator[_Object]:
    if report.subject.status != "recorded":
        yield {"level": "error", "message": {"text": f"The run ended early: {visible(report.subject.status)}"}}


def _unseen(finding: Finding, index: dict[str, int]) -> _Object:
    """That a rule could not judge, and why."""
    outcome = "blocked" if finding.outcome is Outcome.BLOCKED else "not run"
    return {
        "level": "note",
        "message": {"text": f"{visible(finding.name)} {outcome}: {visible(finding.reason)}"},
        "associatedRule": {"id": visible(finding.code), "index": index[finding.code]},
    }


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _short(text: str) -> str:
    return text if len(text) <= _MOST_WORDS else text[: _MOST_WORDS - 1] + "…"


def _harmless(value: Any) -> Any:
    """Evidence without control and half characters."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(key): _harmless(item) for key, item in value.items()}
    return [_harmless(item) for item in value] if isinstance(value, list) else value
