"""Judges: runs the rules in order, asks for each measurement once, blocks what an earlier error explains."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from trainlint.finding import Finding, Fix, Outcome, Severity
from trainlint.measurements import Loop, Measurement, Unmeasured
from trainlint.registry import Catalogue
from trainlint.rule import Rule, Verdict

__all__ = ["Judge", "Measure", "root_cause"]

#: Gives a measurement, or says why there is none. The probes stand behind it, or a saved evidence file.
Measure = Callable[[type[Measurement]], Measurement | Unmeasured]

#: The package of this project's own rules.
_OURS = "trainlint_rules"
#: Why a rule about the loop is not run on a model and a loader in hand.
_OWN_LOOP = "check() runs a loop of its own; `trainlint scan` judges the one in your script"


@dataclass
class Judge:
    """Turns measurements into findings. ``on_rule`` is told each rule before it is judged."""

    catalogue: Catalogue
    measure: Measure
    on_rule: Callable[[Rule], None] = lambda rule: None
    hear: Callable[[Finding], Finding] = lambda finding: finding
    """Takes back a failure that the user has answered; what it takes back blocks nothing."""
    broken: list[str] = field(default_factory=list)
    """A sentence for each rule that raised."""
    _known: dict[str, Measurement | Unmeasured] = field(default_factory=dict)

    def findings(self) -> tuple[Finding, ...]:
        """Judge every rule of the catalogue, in its order."""
        done: list[Finding] = []
        for rule in self.catalogue.rules:
            self.on_rule(rule)
            done.append(self._judge(rule, done))
        return tuple(_deferring(finding, done, self.catalogue.explains) for finding in done)

    def _judge(self, rule: Rule, earlier: Iterable[Finding]) -> Finding:
        cause = _blocker(rule, [f for f in earlier if f.failed])
        if cause is not None:
            return _finding(rule, Outcome.BLOCKED, reason=f"{cause} failed, so this cannot be judged; mend that first", blocked_by=cause)
        inputs = [self._measurement(kind) for kind in rule.requires]
        for item in inputs:
            if isinstance(item, Unmeasured):
                return _finding(rule, Outcome.NOT_RUN, reason=item.reason)
            if rule.judges_loop and isinstance(item, Loop) and item.ours:
                return _finding(rule, Outcome.NOT_RUN, reason=_OWN_LOOP)
        try:
            return self.hear(_limited(rule, _from_verdict(rule, rule.judge(*inputs))))
        except Exception as error:
            reason = _broken(rule, error)
            self.broken.append(f"{rule.code} {rule.name} could not judge: {reason}")
            return _finding(rule, Outcome.NOT_RUN, reason=reason)

    def _measurement(self, kind: type[Measurement]) -> Measurement | Unmeasured:
        if kind.name not in self._known:
            self._known[kind.name] = self.measure(kind)
        return self._known[kind.name]


def _broken(rule: Rule, error: Exception) -> str:
    """What a rule raised, where, and who is to mend it."""
    package = type(rule).__module__.partition(".")[0]
    place = traceback.extract_tb(error.__traceback__)[-1]
    whose = "please report it" if package == _OURS else f"mend it in the package {package}"
    return f"the rule itself failed: {type(error).__name__}: {error} ({place.filename}:{place.lineno}); {whose}"


def _limited(rule: Rule, finding: Finding) -> Finding:
    """The finding at no more than the severity that the user set for this rule."""
    if rule.at_most is None or not finding.failed or finding.severity.rank >= rule.at_most.rank:
        return finding
    return replace(finding, severity=rule.at_most)


def _deferring(finding: Finding, findings: Iterable[Finding], explains: Mapping[str, tuple[str, ...]]) -> Finding:
    """The finding without its own change where its cause's fix changes the same setting, or what its numbers were measured with."""
    if not finding.failed or finding.fix is None or finding.fix.edit is None:
        return finding
    for cause in findings:
        explained = finding.name in explains.get(cause.name, ()) and cause.name not in explains.get(finding.name, ())
        if not (cause.failed and explained):
            continue
        if cause.fix is not None and cause.fix.edit is not None and cause.fix.edit.kind == finding.fix.edit.kind:
            return replace(finding, fix=Fix(summary=f"Follow {cause.name}, which changes the same setting; then look again."))
        if cause.severity is not Severity.NOTE and any(isinstance(value, float) for value in finding.fix.edit.values.values()):
            return replace(finding, fix=Fix(summary=f"Mend {cause.name} first: what was measured here changes with it. Then scan again."))
    return finding


def _blocker(rule: Rule, failures: list[Finding]) -> str | None:
    """The earlier failure that makes a rule meaningless."""
    errors = {f.name for f in failures if f.severity is Severity.ERROR}
    named = next((cause for cause in rule.blocked_by if cause in errors), None)
    if named is not None or not rule.only_when_others_pass:
        return named
    return next((f.name for f in failures if f.severity is not Severity.NOTE and f.name not in rule.despite), None)


def _from_verdict(rule: Rule, verdict: Verdict) -> Finding:
    if verdict.kind == "not-run":
        return _finding(rule, Outcome.NOT_RUN, reason=verdict.message)
    return Finding(
        code=rule.code,
        name=rule.name,
        stage=rule.stage,
        outcome=Outcome.PASS if verdict.kind == "pass" else Outcome.FAIL,
        severity=verdict.severity or rule.severity,
        message=verdict.message,
        evidence=verdict.evidence,
        location=verdict.location,
        why=rule.why,
        source=rule.source,
        fix=verdict.fix,
        details=verdict.details,
    )


def _finding(rule: Rule, outcome: Outcome, *, reason: str, blocked_by: str | None = None) -> Finding:
    return Finding(
        code=rule.code,
        name=rule.name,
        stage=rule.stage,
        outcome=outcome,
        severity=rule.severity,
        message=rule.summary,
        why=rule.why,
        source=rule.source,
        reason=reason,
        blocked_by=blocked_by,
    )


def root_cause(findings: Iterable[Finding], explains: Mapping[str, tuple[str, ...]]) -> Finding | None:
    """The one failure to look at first: the worst that no other failure explains, earliest in the playbook.

    A symptom may be worse than its cause (a warning about NaN inputs explains an error about a NaN loss), so causes of every
    severity but notes count.
    """
    failures = [f for f in findings if f.failed and f.severity is not Severity.NOTE]
    names = {f.name for f in failures}
    explained = {symptom for cause in names for symptom in explains.get(cause, ()) if symptom != cause}
    causes = [f for f in failures if f.name not in explained] or failures
    worst = {f.name: min([f.severity.rank, *(g.severity.rank for g in failures if g.name in explains.get(f.name, ()))]) for f in causes}
    return min(causes, key=lambda f: (worst[f.name], f.stage), default=None)
