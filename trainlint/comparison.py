"""Two reports side by side: what is mended, what is new, what stays."""

from __future__ import annotations

from dataclasses import dataclass

from trainlint.finding import Finding, Outcome
from trainlint.report import Report

__all__ = ["Change", "compare_reports"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One rule in both reports."""

    name: str
    code: str
    kind: str
    """``new`` (fails now), ``fixed`` (failed and passes now), ``gone`` (failed and is no longer judged), ``worse``, ``better`` (its
    severity) or ``same`` (fails in both)."""
    before: Finding | None
    after: Finding | None


#: The order in which changes are told.
_ORDER = ("new", "worse", "same", "better", "gone", "fixed")


def compare_reports(before: Report, after: Report) -> tuple[Change, ...]:
    """The rules that failed in one of two reports, what is new first. Rules that failed in neither are left out."""
    old, new = ({f.name: f for f in report.findings} for report in (before, after))
    changes = []
    for name in dict.fromkeys((*new, *old)):
        first, second = old.get(name), new.get(name)
        failed = bool(first and first.failed), bool(second and second.failed)
        if not any(failed):
            continue
        shown = second or first
        assert shown is not None
        changes.append(Change(name=name, code=shown.code, kind=_kind(first, second), before=first, after=second))
    return tuple(sorted(changes, key=lambda c: _ORDER.index(c.kind)))


def _kind(before: Finding | None, after: Finding | None) -> str:
    if after is None or not after.failed:
        return "fixed" if after is not None and after.outcome is Outcome.PASS else "gone"
    if before is None or not before.failed:
        return "new"
    if before.severity is after.severity:
        return "same"
    return "worse" if after.severity.rank < before.severity.rank else "better"
