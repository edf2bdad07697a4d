"""What a check says in all: the report that holds the findings, what was checked, and what that cost. Plain data, no torch, no rendering."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from trainlint.details import Detail
from trainlint.errors import FindingsError, UnknownRuleError
from trainlint.finding import Finding, Outcome, Severity
from trainlint.plugins import gathered

__all__ = ["Cost", "Report", "Subject"]

#: Findings that are written out where a report is an error's message; the others are named.
_MOST = 3


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What was checked."""

    kind: str
    """``script`` or ``objects``."""
    name: str
    command: str = ""
    status: str = "recorded"
    """``recorded``: enough steps were seen; otherwise how the run ended: ``crashed``, ``exited``, ``killed``, ``interrupted``, ``timeout``, ``never-trained``."""
    too_little: bool = False
    """Whether the budget ended the recording, or many checks, before enough was seen to call the run clean."""
    trained: bool = True
    """Whether a step of a training was seen, or at least its loss."""
    notes: tuple[str, ...] = ()
    """What the reader must know: assumptions made, what could not be seen."""
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the check cost."""

    seconds: float = 0.0
    step_seconds: float | None = None
    """Median wall time of one bare training step of the user's own."""
    step_equivalents: float | None = None
    """Probe time divided by ``step_seconds``."""
    probes: dict[str, float] = field(default_factory=dict)
    """Seconds per probe."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything a renderer needs. Truthy when nothing failed as an error."""

    subject: Subject
    findings: tuple[Finding, ...]
    start_here: Finding | None = None
    """The one failure to look at first: the most likely root cause, of those that no baseline knows."""
    cost: Cost = field(default_factory=Cost)
    overview: tuple[Detail, ...] = ()
    """What was seen, whether or not anything failed: the batch, the loop, the curves."""
    version: str = ""
    """Version of trainlint that wrote it."""
    fail_on: str = "error"
    """The least severity that makes the run a failure, or ``never``."""

    @property
    def failed(self) -> tuple[Finding, ...]:
        """All failures, new before known, worst first, then in the order of the playbook."""
        return tuple(sorted((f for f in self.findings if f.failed), key=lambda f: (f.known, f.severity.rank)))

    @property
    def judged(self) -> bool:
        """Whether a training was seen and any rule came to a verdict on it."""
        seen = self.subject.status != "never-trained"
        return any(f.failed or (seen and f.outcome is Outcome.PASS) for f in self.findings)

    @property
    def failing(self) -> tuple[Finding, ...]:
        """The failures that make the run one: new, and at or above ``fail_on``."""
        return () if self.fail_on == "never" else self.at_or_above(Severity(self.fail_on))

    def at_or_above(self, severity: Severity) -> tuple[Finding, ...]:
        """New failures that are as bad as ``severity`` or worse."""
        return tuple(f for f in self.failed if not f.known and f.severity.rank <= severity.rank)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __getitem__(self, name: str) -> Finding:
        """The finding of the rule with this name or code."""
        for finding in self.findings:
            if name in (finding.name, finding.code):
                return finding
        raise KeyError(f"no rule {name!r} in this report; it has: {', '.join(f.name for f in self.findings)}")

    def __str__(self) -> str:
        return self.to_text()

    def __bool__(self) -> bool:
        return not self.at_or_above(Severity.ERROR)

    def raise_for_errors(self, severity: Severity | str = Severity.ERROR) -> Report:
        """Return this report, or raise when something failed.

        Args:
            severity: The least severity that counts: ``error`` (default), ``warning`` or ``note``.

        Raises:
            FindingsError: With the failures in short. It is an AssertionError too.
        """
        __tracebackhide__ = True
        if found := self.at_or_above(Severity(severity)):
            raise FindingsError(_in_short(found, self.start_here))
        return self

    def assert_clean(self) -> Report:
        """Return this report, or raise FindingsError when anything but a note was found."""
        __tracebackhide__ = True
        return self.raise_for_errors(Severity.WARNING)

    def assert_rule(self, name: str) -> Finding:
        """The finding of one rule, by name or code, which must have passed.

        Raises:
            FindingsError: The rule failed, is blocked by another failure or could not judge; the message says which and why.
            UnknownRuleError: The report holds no such rule.
        """
        __tracebackhide__ = True
        try:
            finding = self[name]
        except KeyError:
            raise UnknownRuleError(name, [f.name for f in self.findings]) from None
        if finding.outcome is Outcome.BLOCKED:
            raise FindingsError(f"{finding}\n{self[str(finding.blocked_by)]}")
        if finding.outcome is not Outcome.PASS:
            raise FindingsError(str(finding))
        return finding

    def to_json(self) -> str:
        """The report as JSON; docs/json-schema.md describes it."""
        return self._rendered("json")

    def to_html(self) -> str:
        """The report as one self-contained page."""
        return self._rendered("html")

    def to_text(self) -> str:
        """The report as it stands in a terminal, without colours."""
        return self._rendered("text")

    def _rendered(self, style: str) -> str:
        return str(gathered("trainlint.reports", "RENDERERS")[style].render(self))

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its styles and a notebook's leave each other alone."""
        page = html.escape(self.to_html())
        return f'<iframe title="trainlint report" sandbox="allow-popups" srcdoc="{page}" style="width:100%;height:640px;border:0"></iframe>'


def _in_short(findings: Sequence[Finding], first: Finding | None) -> str:
    """Several failures, the root cause first; beyond the first few only their names."""
    ordered = sorted(findings, key=lambda f: first is None or f.name != first.name)
    rest = [f.name for f in ordered[_MOST:]]
    return "\n".join([*map(str, ordered[:_MOST]), *([f"and {len(rest)} more: {', '.join(rest)}"] if rest else [])])
