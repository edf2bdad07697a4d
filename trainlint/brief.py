"""A finding in a few lines, for assertion messages and test reports: what, where, the user's line, the change to make."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainlint.diffs import hunks, is_example

if TYPE_CHECKING:
    from trainlint.finding import Finding

__all__ = ["brief", "briefs"]

#: Lines of a fix's code that are shown; the report holds all.
_CODE = 12
#: Findings written out; the others are named.
_MOST = 3


def brief(finding: Finding) -> str:
    """The failure in some five lines; for one that did not fail, a line with its outcome and reason."""
    head = f"{finding.code} {finding.name}"
    if not finding.failed:
        return f"{head}: {finding.outcome.value}{f' ({finding.reason})' if finding.reason else ''}"
    lines = [f"{head} ({finding.severity.value}): {finding.message}"]
    if finding.location is not None:
        text = f"    {finding.location.text}" if finding.location.text else ""
        lines.append(f"  at {finding.location}{text}")
    if finding.fix is not None:
        lines.append(f"  fix: {finding.fix.summary}{' For example:' if is_example(finding.fix.code, finding.fix.diff) else ''}")
        code = (hunks(finding.fix.diff) or finding.fix.code).splitlines()
        lines += textwrap.indent("\n".join([*code[:_CODE], *(["..."] if len(code) > _CODE else [])]), "    ").splitlines()
    if finding.proof is not None and finding.proof.tried and finding.proof.helped:
        lines.append(f"  tried: {finding.proof.summary}")
    lines.append(f"  more: trainlint explain {finding.name}")
    return "\n".join(lines)


def briefs(findings: Sequence[Finding], first: Finding | None = None) -> str:
    """Several failures, the root cause first; beyond the first few only their names."""
    ordered = sorted(findings, key=lambda f: first is None or f.name != first.name)
    rest = [f.name for f in ordered[_MOST:]]
    return "\n".join([*(brief(f) for f in ordered[:_MOST]), *([f"and {len(rest)} more: {', '.join(rest)}"] if rest else [])])
