"""A report as JSON and back, without loss. The schema is written down in docs/json-schema.md.

JSON has no NaN and no infinity: they are written as the words ``"nan"``, ``"inf"`` and ``"-inf"`` and read back as
numbers. Wherever a number may stand (evidence and table cells included), those three words mean the number.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, TypeVar

import msgspec

from trainlint.details import Bars, Code, Detail, ImageGrid, Series, Table, Timeline
from trainlint.errors import UsageError
from trainlint.finding import Finding, Fix, Outcome, Proof, Severity, Stage
from trainlint.location import Location
from trainlint.report import Cost, Report, Subject
from trainlint.settings import FAIL_ON

__all__ = ["SCHEMA", "from_builtins", "from_json", "to_builtins", "to_json"]

#: Version of the JSON; raised when a reader of the old one would misread the new one.
SCHEMA = 1

_DETAILS: dict[str, type[Detail]] = {kind.type: kind for kind in (Series, Bars, Table, ImageGrid, Code, Timeline)}
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

_T = TypeVar("_T")


class _Finding(msgspec.Struct, kw_only=True):
    """One entry of ``findings``."""

    code: str
    name: str
    stage: Stage
    verdict: Outcome
    severity: Severity
    message: str
    evidence: dict[str, Any] = {}
    location: Location | None = None
    fix: Fix | None = None
    proof: Proof | None = None
    blocked_by: str | None = None
    reason: str = ""
    known: bool = False
    ignored: bool = False
    why: str = ""
    source: str = ""
    details: list[dict[str, Any]] = []


class _Tool(msgspec.Struct):
    name: str = "trainlint"
    version: str = ""


class _StartHere(msgspec.Struct, kw_only=True):
    """Names the finding to look at first, with enough of it to be shown alone."""

    code: str
    name: str
    severity: Severity
    message: str
    location: Location | None = None


class _Report(msgspec.Struct, kw_only=True):
    """The whole document."""

    schema: int = SCHEMA
    tool: _Tool
    subject: Subject
    start_here: _StartHere | None = None
    findings: list[_Finding]
    cost: Cost = Cost()
    overview: list[dict[str, Any]] = []
    fail_on: str = "error"


def to_builtins(report: Report) -> dict[str, Any]:
    """The report as dicts, lists, words and finite numbers, in the order of the schema."""
    first = report.start_here
    document = _Report(
        tool=_Tool(version=report.version),
        subject=report.subject,
        start_here=_start_here(first) if first else None,
        findings=[_finding_out(f) for f in report.findings],
        cost=report.cost,
        overview=_details_out(report.overview),
        fail_on=report.fail_on,
    )
    plain: dict[str, Any] = _words_for_non_finite(_plain(document))
    return plain


def from_builtins(data: Any) -> Report:
    """The report that :func:`to_builtins` was given; raises :class:`UsageError` when ``data`` is no report."""
    version = data.get("schema") if isinstance(data, dict) else None
    if version != SCHEMA:
        msg = f"not a trainlint report of schema {SCHEMA}: its 'schema' is {version!r}; write it again with this version of trainlint"
        raise UsageError(msg)
    try:
        document = _convert(data, _Report)
        findings = tuple(_finding_in(f) for f in document.findings)
        overview = _details_in(document.overview)
        if document.fail_on not in FAIL_ON:
            raise ValueError(f"'fail_on' is {document.fail_on!r}, not one of {', '.join(FAIL_ON)}")
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        msg = f"not a trainlint report: {error}"
        raise UsageError(msg) from error
    first = document.start_here
    return Report(
        subject=document.subject,
        findings=findings,
        start_here=next((f for f in findings if first and f.code == first.code), None),
        cost=document.cost,
        overview=overview,
        version=document.tool.version,
        fail_on=document.fail_on,
    )


def to_json(report: Report, *, indent: int | None = 1) -> str:
    """The report as strict JSON text."""
    text = json.dumps(to_builtins(report), indent=indent, ensure_ascii=False, allow_nan=False)
    # A file name that is not valid UTF-8 holds these; escaped they survive being written to a file.
    return _LONE_SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def from_json(text: str | bytes) -> Report:
    """The report that :func:`to_json` was given; raises :class:`UsageError` when ``text`` holds no report."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"not a trainlint report: {error}"
        raise UsageError(msg) from error
    return from_builtins(data)


def _start_here(first: Finding) -> _StartHere:
    return _StartHere(code=first.code, name=first.name, severity=first.severity, message=first.message, location=first.location)


def _finding_out(finding: Finding) -> _Finding:
    return _Finding(
        code=finding.code,
        name=finding.name,
        stage=finding.stage,
        verdict=finding.outcome,
        severity=finding.severity,
        message=finding.message,
        evidence=finding.evidence,
        location=finding.location,
        fix=finding.fix,
        proof=finding.proof,
        blocked_by=finding.blocked_by,
        reason=finding.reason,
        known=finding.known,
        ignored=finding.ignored,
        why=finding.why,
        source=finding.source,
        details=_details_out(finding.details),
    )


def _finding_in(entry: _Finding) -> Finding:
    return Finding(
        code=entry.code,
        name=entry.name,
        stage=entry.stage,
        outcome=entry.verdict,
        severity=entry.severity,
        message=entry.message,
        evidence={key: _numbers_for_words(value) for key, value in entry.evidence.items()},
        location=entry.location,
        why=entry.why,
        source=entry.source,
        fix=entry.fix,
        proof=entry.proof,
        blocked_by=entry.blocked_by,
        reason=entry.reason,
        known=entry.known,
        ignored=entry.ignored,
        details=_details_in(entry.details),
    )


def _details_out(details: tuple[Detail, ...]) -> list[dict[str, Any]]:
    return [_plain(detail) for detail in details]


def _details_in(details: list[dict[str, Any]]) -> tuple[Detail, ...]:
    return tuple(_detail_in(data) for data in details)


def _detail_in(data: dict[str, Any]) -> Detail:
    kind = _DETAILS.get(str(data.get("type")))
    if kind is None:
        msg = f"unknown type of detail {data.get('type')!r}; known are {', '.join(_DETAILS)}"
        raise ValueError(msg)
    if kind is Table:
        data = data | {"rows": [[_numbers_for_words(cell) for cell in row] for row in data.get("rows", [])]}
    return _convert(data, kind)


def _convert(data: Any, kind: type[_T]) -> _T:
    return msgspec.convert(data, kind, strict=False)


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_plain_number)


def _plain_number(value: Any) -> Any:
    """A NumPy or torch number that slipped into evidence as plain numbers; any other foreign object as its text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _words_for_non_finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {key: _words_for_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_words_for_non_finite(item) for item in value]
    return value


def _numbers_for_words(value: Any) -> Any:
    if isinstance(value, str):
        return _NOT_FINITE.get(value, value)
    if isinstance(value, dict):
        return {key: _numbers_for_words(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers_for_words(item) for item in value]
    return value
