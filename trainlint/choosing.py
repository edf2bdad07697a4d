"""What reports say of edits and ``--fix`` does with them, decided in one place: their order, and which are held back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainlint.finding import Finding, Severity
from trainlint.report import Report

__all__ = ["held_back", "in_order"]


def in_order(report: Report) -> Sequence[Finding]:
    """The failures in the order in which their edits are chosen: the root cause, then the gravest."""
    first = report.start_here.name if report.start_here is not None else ""
    return sorted(report.failed, key=lambda f: (f.name != first, f.severity.rank))


def held_back(finding: Finding, report: Report, explains: Mapping[str, Sequence[str]], *, safe: bool) -> str:
    """Why ``--fix --unsafe-fixes`` does not make an edit that could be made; empty where it does.

    Args:
        finding: A failure of the report.
        report: All findings.
        explains: Cause -> symptoms, as the catalogue has it.
        safe: Whether the edit may be applied without a look.
    """
    if not safe and finding.severity is Severity.NOTE:
        return "edits of notes that need review are left to you"
    order = in_order(report)
    if finding is order[0]:
        return ""
    failing = (f.name for f in order if f.severity is not Severity.NOTE)
    cause = next((name for name in failing if finding.name in explains.get(name, ())), None)
    return f"it may come of {cause}, which is to be mended first" if cause else ""
