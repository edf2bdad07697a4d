"""How a report puts things into words: numbers, counts, verdicts and states. Shared by the formats that people read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from trainlint import wording
from trainlint.details import Code
from trainlint.finding import Finding, Outcome, Severity, Stage
from trainlint.report import Report

__all__ = [
    "Headline",
    "StageState",
    "count",
    "counts",
    "frame",
    "headline",
    "label",
    "number",
    "seconds",
    "stage_states",
    "state",
    "visible",
]

#: Everything a terminal or an XML document must not be handed: control characters but tab and newline, and half characters.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

_STATE_WORDS = {
    "error": ("error", "errors"),
    "warning": ("warning", "warnings"),
    "note": ("note", "notes"),
    "known": ("known", "known"),
    "blocked": ("blocked", "blocked"),
    "pass": ("passed", "passed"),
    "ignored": ("ignored", "ignored"),
    "not-run": ("not run", "not run"),
}

_ENDINGS = {
    "crashed": "The script raised an error",
    "exited": "The script ended early",
    "killed": "The script was killed",
    "interrupted": "The scan was interrupted",
    "timeout": "The script hung",
    "never-trained": "The script never trained",
}


def visible(text: str) -> str:
    """``text`` with control characters shown as escapes, so that a name from outside cannot steer a terminal or break a document."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text.replace("\r\n", "\n"))


def number(value: object) -> str:
    """A number as people write it: four significant digits, no exponent padding; words stay words."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value) if abs(value) < 10_000 else f"{value:,}"
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        if value.is_integer() and abs(value) < 1e7:
            return number(int(value))
        return wording.number(value)
    if isinstance(value, dict):
        return ", ".join(f"{label(str(key))} {number(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(number(item) for item in value)
    return visible(str(value))


def label(key: str) -> str:
    """An evidence key as a reader sees it."""
    return visible(key.replace("_", " "))


def seconds(value: float) -> str:
    """A duration."""
    if value < 1:
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f} s" if value < 60 else f"{value // 60:.0f} min {value % 60:.0f} s"


def count(amount: int, one: str, many: str = "") -> str:
    """``3 batches``, ``1 batch``."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def state(finding: Finding) -> str:
    """What became of a rule, in one word that also names its icon: a failure's severity unless it is known, else the outcome."""
    if finding.failed and finding.known:
        return "known"
    if finding.ignored:
        return "ignored"
    return finding.severity.value if finding.failed else finding.outcome.value


def counts(findings: Iterable[Finding]) -> dict[str, str]:
    """How many findings are in each state that occurs, worst first: ``{"error": "2 errors", "pass": "14 passed"}``."""
    states = [state(f) for f in findings]
    return {key: count(states.count(key), *words) for key, words in _STATE_WORDS.items() if key in states}


@dataclass(frozen=True)
class Headline:
    """The verdict of a whole report."""

    state: str
    title: str
    text: str


#: With this many rules that could not judge for each that passed, a report is no clean bill.
_MOSTLY = 5


#: What a larger budget would do, where steps were seen and where none was.
_MORE = "A larger `budget` shows more."
_NO_STEP = (
    "No training step was seen: a larger `budget` shows one that comes later, but gradients that are worked out without loss.backward() "
    "cannot be followed."
)


def headline(report: Report) -> Headline:
    """The verdict in one short title and one sentence."""
    tally = counts(report)
    passed = sum(f.outcome is Outcome.PASS for f in report)
    unseen = sum(f.outcome in (Outcome.BLOCKED, Outcome.NOT_RUN) and not f.ignored for f in report)
    ignored = sum(f.ignored for f in report)
    known = sum(f.failed and f.known for f in report)
    checked = f"{count(passed, 'check')} passed" + (f", {unseen} could not be judged" if unseen else "")
    if known:
        checked += f", {count(known, 'failure')} known from the baseline"
    if ignored:
        checked += f", {count(ignored, 'failure')} ignored by comments"
    none = "No new errors" if known else "No errors"
    ending = _ENDINGS.get(report.subject.status)
    said = "".join(f"{tally[s.value]}, " for s in Severity if s.value in tally)
    if report.subject.kind == "log":
        return _headline_of_log(tally)
    if ending and "error" not in tally:
        judged = f"What was recorded until then was judged: {said}{checked}."
        return Headline("error", ending, judged if report.judged else "No training was seen, so nothing was judged.")
    ended = f" {ending} before the scan was done; this is what was seen until then." if ending else ""
    if "error" in tally:
        return Headline("error", f"{tally['error']} found", f"Measured evidence that training is broken or learns the wrong thing.{ended}")
    if report.subject.too_little:
        shown = next((s.value for s in Severity if s.value in tally), "not-run")
        return Headline(
            shown,
            "Too little was seen to call it clean",
            f"The budget was too short: {said}{checked}. {_MORE if report.subject.trained else _NO_STEP}{ended}",
        )
    if "warning" in tally:
        what = "It" if sum(state(f) == "warning" for f in report) == 1 else "Each"
        return Headline("warning", f"{none}, {tally['warning']}", f"{what} may cost the run. {checked}.{ended}")
    if "note" in tally:
        return Headline("note", f"{none}, {tally['note']}", f"{checked}.{ended}")
    if known:
        return Headline("pass", "Nothing new found", f"{checked}.")
    if ignored and not passed and not unseen:
        return Headline("pass", "Nothing left to report", f"{count(ignored, 'failure')} ignored by comments, and no other check ran.")
    if not passed:
        return Headline("not-run", "Nothing could be judged", f"{count(unseen, 'check')} could not run; the reasons are below.")
    if unseen > _MOSTLY * passed:
        return Headline("not-run", "Hardly anything could be judged", f"{checked}; the reasons are below.")
    return Headline("pass", "No fault found", f"{checked}.")


def _headline_of_log(tally: dict[str, str]) -> Headline:
    """The verdict on curves: one rule judges them, so nothing is said of how many passed."""
    if "error" in tally:
        return Headline("error", f"{tally['error']} found", "Training is lost, or learns nothing.")
    if "warning" in tally:
        return Headline("warning", f"No errors, {tally['warning']}", "It may cost the run.")
    if "note" in tally:
        return Headline("note", f"No errors, {tally['note']}", "It is worth knowing, and no fault was established.")
    if "pass" in tally:
        return Headline("pass", "No fault found", "What these curves do not show they cannot clear.")
    return Headline("not-run", "Nothing could be judged", "The reasons are below.")


@dataclass(frozen=True)
class StageState:
    """One stage of the playbook in this report."""

    stage: Stage
    state: str
    """The worst state in it, ``none`` when it has no rule, ``partly`` when what was judged passed but not all could be."""
    text: str


def stage_states(report: Report) -> tuple[StageState, ...]:
    """All seven stages, in order."""
    result = []
    for stage in Stage:
        tally = counts(f for f in report if f.stage is stage)
        worst = next((s for s in tally if s != "not-run"), next(iter(tally), "none"))
        shown = [text for key, text in tally.items() if key in {s.value for s in Severity}] or [tally.get(worst, "no checks")]
        unseen = [tally["not-run"]] if "not-run" in tally and worst != "not-run" else []
        result.append(StageState(stage, "partly" if unseen and worst == "pass" else worst, ", ".join(shown + unseen)))
    return tuple(result)


def frame(finding: Finding) -> Code | None:
    """The lines to show for the finding's place: those a detail brings along, else the one line of the location."""
    place = finding.location
    if place is None:
        return None
    for detail in finding.details:
        if isinstance(detail, Code) and detail.highlight == place.line:
            return detail
    return Code(title=str(place), text=place.text, first_line=place.line, highlight=place.line) if place.text else None
