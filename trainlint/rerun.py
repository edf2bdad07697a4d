"""Fixes that no replayed step can try are tried by running the script once more as it would be with their edits; no file is changed.

Edits are chosen as ``scan --fix --unsafe-fixes`` would choose them, and made together: one run answers for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten

from trainlint.edits import Made
from trainlint.edits.applying import plan
from trainlint.finding import Finding, Outcome, Proof, Severity
from trainlint.report import Report

__all__ = ["again"]

#: What runs the script with other bytes for some files and judges it by some rules: the report, how the script stopped, or None when the user,
#: or a fault of our own, ended it.
Run = Callable[[Mapping[Path, bytes], Sequence[str]], Report | str | None]

#: Characters of an error that are shown.
_LONGEST = 160
#: Rules about what a script does, to the letter: that it passes them says more than that some replayed steps made no difference to the loss.
_DOINGS = frozenset({
    "amp", "grad-clip", "gradient-accumulation", "loop-order", "loss-shape", "padding", "params-not-optimized", "schedule-cadence", "soft-targets",
})  # fmt: skip


def again(report: Report, explains: Mapping[str, tuple[str, ...]], run: Run) -> dict[str, Proof]:
    """What came of each fix that was not tried yet and is an edit of the script, by rule; empty where there is none such.

    ``explains``: cause -> symptoms, as the catalogue has it; an edit that mends a symptom alone is not made.
    """
    if not any(_waits(f) and f.fix is not None and f.fix.diff for f in report.failed):
        return {}
    planned = plan(report, unsafe=True, explains=dict(explains))
    waiting = [made.finding for made in planned.chosen if _waits(made.finding)]
    if not waiting:
        return {}
    after = run({path: file.source.encode(file.text) for path, file in planned.files.items()}, [f.name for f in waiting])
    return {f.name: _proof(f, planned.chosen, after) for f in waiting} if after is not None else {}


def _waits(finding: Finding) -> bool:
    """Whether a failure counts, and its fix was not tried, or not in a way that settles it."""
    proof, counts = finding.proof, finding.severity is not Severity.NOTE and not finding.ignored and not finding.known
    return counts and (proof is None or not proof.tried or (not proof.helped and finding.name in _DOINGS))


def _proof(finding: Finding, chosen: Sequence[Made], after: Report | str) -> Proof:
    others = [made.finding.name for made in chosen if made.finding.name != finding.name]
    change = f"this change and {'that' if len(others) == 1 else 'those'} for {', '.join(others)}" if others else "this change"
    if isinstance(after, str):
        # Of several edits it is not known which one broke the script.
        stopped = shorten(after, _LONGEST, placeholder=" ...")
        return Proof(helped=False, tried=not others, summary=f"Run once more with {change}, the script stopped: {stopped}")
    verdict = next((f for f in after.findings if f.name == finding.name), None)
    if verdict is None or verdict.outcome not in (Outcome.PASS, Outcome.FAIL):
        reason = verdict.reason if verdict is not None else "the rule was not asked"
        return Proof(helped=False, tried=False, summary=f"run once more with {change}, the script could not be judged: {reason}")
    if verdict.outcome is Outcome.PASS:
        said = "passes the check."
    elif verdict.severity is Severity.NOTE:
        said = "is left with a note."
    else:
        said = "still fails the check."
    helped = verdict.outcome is Outcome.PASS or verdict.severity is Severity.NOTE
    summary = f"Run once more with {change}, the script {said} {verdict.message}"
    if (replayed := finding.proof) is not None and replayed.tried:
        summary = f"{summary} In a replay: {replayed.summary}"
    return Proof(helped=helped, summary=summary)
