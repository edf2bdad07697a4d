"""The judge: order, blocking, broken rules, the root cause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainlint.engine import Judge, root_cause
from trainlint.finding import Edit, Fix, Outcome, Severity, Stage
from trainlint.measurements import Loop, Loss, Measurement, Unmeasured
from trainlint.registry import Catalogue
from trainlint.rule import Rule, Verdict, failed, not_run, passed


def rule(name: str, verdict, *, requires=(Loop,), blocked_by=(), stage=Stage.WIRING, code="TL199") -> Rule:
    def judge(self, *measurements) -> Verdict:
        return verdict(*measurements) if callable(verdict) else verdict

    kind = type(name, (Rule,), {
        "code": code, "name": name, "stage": stage, "severity": Severity.ERROR, "summary": "it holds", "why": "it matters.", "source": "a paper",
        "requires": requires, "blocked_by": blocked_by, "judge": judge,
    })  # fmt: skip
    return kind()


def bad(severity: Severity = Severity.ERROR) -> Verdict:
    return failed("broken", severity=severity, fix=Fix(summary="mend it"))


def judge(*rules: Rule, measure=None, explains=None):
    known = measure or (lambda kind: Loop() if kind is Loop else Unmeasured(name=kind.name, reason="nothing to see"))
    return Judge(Catalogue(rules, explains or {}), known).findings()


def test_a_rule_is_handed_what_it_requires_and_nothing_else() -> None:
    seen = []
    judge(rule("looks", lambda *m: seen.append(m) or passed("fine")))
    assert [[type(m) for m in args] for args in seen] == [[Loop]]


def test_each_measurement_is_asked_for_once() -> None:
    asked: list[type[Measurement]] = []

    def measure(kind):
        asked.append(kind)
        return Loop()

    judge(rule("a", passed("ok")), rule("b", passed("ok")), measure=measure)
    assert asked == [Loop]


def test_a_missing_measurement_makes_the_rule_not_run_with_its_reason() -> None:
    (finding,) = judge(rule("needs-loss", passed("ok"), requires=(Loss,)))
    assert (finding.outcome, finding.reason) == (Outcome.NOT_RUN, "nothing to see")


def test_a_rule_is_blocked_by_an_earlier_error_without_being_measured() -> None:
    asked = []

    def measure(kind):
        asked.append(kind)
        return Loop()

    first, second = judge(rule("cause", bad()), rule("symptom", bad(), requires=(Loss,), blocked_by=("cause",)), measure=measure)
    assert second.outcome is Outcome.BLOCKED
    assert second.blocked_by == first.name
    assert asked == [Loop]


def test_a_warning_blocks_nothing() -> None:
    _, second = judge(rule("cause", bad(Severity.WARNING)), rule("symptom", bad(), blocked_by=("cause",)))
    assert second.outcome is Outcome.FAIL


def test_a_rule_that_breaks_never_looks_like_a_pass_and_never_ends_the_run() -> None:
    broken, after = judge(rule("broken", lambda loop: 1 / 0), rule("after", passed("fine")))
    assert broken.outcome is Outcome.NOT_RUN
    assert "ZeroDivisionError" in broken.reason
    assert after.outcome is Outcome.PASS


def test_not_run_carries_the_rules_own_reason() -> None:
    (finding,) = judge(rule("shy", not_run("no classes here")))
    assert finding.reason == "no classes here"


@pytest.mark.parametrize(
    ("failures", "explains", "first"),
    [
        ([("a", Severity.ERROR), ("b", Severity.ERROR)], {}, "a"),
        ([("a", Severity.WARNING), ("b", Severity.ERROR)], {}, "b"),
        ([("a", Severity.ERROR), ("b", Severity.ERROR)], {"b": ("a",)}, "b"),
        ([("a", Severity.ERROR), ("b", Severity.WARNING)], {"b": ("a",)}, "b"),
        ([("a", Severity.ERROR), ("b", Severity.ERROR), ("c", Severity.ERROR)], {"c": ("b",), "b": ("a",)}, "c"),
        ([("a", Severity.ERROR), ("b", Severity.ERROR)], {"a": ("b",), "b": ("a",)}, "a"),
        ([("a", Severity.NOTE)], {}, None),
        ([], {}, None),
    ],
)
def test_the_root_cause_is_the_failure_that_no_other_explains(failures, explains, first) -> None:
    findings = judge(*(rule(name, bad(severity)) for name, severity in failures))
    found = root_cause(findings, explains)
    assert (found.name if found else None) == first


def test_a_last_resort_speaks_only_when_the_others_pass() -> None:
    last = rule("last", bad(Severity.WARNING))
    type(last).only_when_others_pass, type(last).despite = True, ("symptom",)
    assert judge(rule("fine", passed("ok")), rule("shy", not_run("cannot")), rule("opinion", bad(Severity.NOTE)), last)[-1].failed
    assert judge(rule("symptom", bad()), last)[-1].failed
    blocked = judge(rule("cause", bad(Severity.WARNING)), last)[-1]
    assert (blocked.outcome, blocked.blocked_by) == (Outcome.BLOCKED, "cause")


def test_what_a_rule_raised_is_told_with_its_line_and_whose_it_is() -> None:
    known = Judge(Catalogue((rule("broken", lambda loop: loop.nothing),), {}), lambda kind: Loop())
    (finding,) = known.findings()
    (told,) = known.broken
    assert "broken could not judge" in told
    assert "AttributeError" in told
    assert f"{__file__}:" in told
    assert "please report" not in told
    assert finding.reason in told


def test_a_failure_that_is_taken_back_blocks_nothing() -> None:
    rules = rule("cause", bad()), rule("symptom", passed("ok"), blocked_by=("cause",))
    hear = lambda f: replace(f, outcome=Outcome.NOT_RUN, ignored=True) if f.name == "cause" else f  # noqa: E731
    cause, symptom = Judge(Catalogue(rules, {}), lambda kind: Loop(), hear=hear).findings()
    assert cause.ignored
    assert symptom.outcome is Outcome.PASS


def test_a_symptom_leaves_the_setting_that_both_fixes_change_to_its_cause() -> None:
    def lowers(lr: float, kind: str = "learning-rate") -> Verdict:
        edit = Edit(kind=kind, values={"lr": lr} if kind == "learning-rate" else {"modules": ["drop"]})
        return failed("too high", severity=Severity.WARNING, fix=Fix(summary=f"use {lr}", code=f"lr={lr}", edit=edit))

    explains = {"cause": ("symptom", "other")}
    rules = (rule("symptom", lowers(1e-3)), rule("other", lowers(0.1, "dropout")), rule("cause", lowers(0.04)))
    symptom, other, cause = judge(*rules, explains=explains)
    assert symptom.fix is not None
    assert (symptom.fix.code, symptom.fix.edit) == ("", None)
    assert "cause" in symptom.fix.summary
    assert other.fix is not None
    assert cause.fix is not None
    assert other.fix.edit is not None, "another setting"
    assert cause.fix.code == "lr=0.04"
    (alone,) = judge(rule("symptom", lowers(1e-3)), explains=explains)
    assert alone.fix is not None
    assert alone.fix.code == "lr=0.001"


def test_a_number_that_was_measured_under_another_fault_is_not_advised() -> None:
    scaled = failed("unscaled", severity=Severity.WARNING, fix=Fix(summary="scale", edit=Edit(kind="target")))
    lower = failed(
        "too high",
        severity=Severity.WARNING,
        fix=Fix(summary="use 0.15", code="lr=0.15", edit=Edit(kind="learning-rate", values={"lr": 0.15})),
    )
    symptom, _ = judge(rule("symptom", lower), rule("cause", scaled), explains={"cause": ("symptom",)})
    assert symptom.fix is not None
    assert (symptom.fix.code, symptom.fix.edit) == ("", None)
    assert "Mend cause first" in symptom.fix.summary
