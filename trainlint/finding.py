"""What a check says: findings, fixes and the report that holds them. Plain data, no torch, no rendering."""

from __future__ import annotations

import enum
import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from trainlint.details import Detail, Series
from trainlint.location import Location

__all__ = ["Cost", "Edit", "Finding", "Fix", "Outcome", "Proof", "Report", "Severity", "Stage", "Subject"]

#: Anything JSON can hold; evidence values are numbers, words and short lists of them.
Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


class Stage(enum.IntEnum):
    """The playbook, cheapest check first; an error in an earlier stage can make a later one meaningless."""

    WIRING = 1
    DATA = 2
    GRADIENTS = 3
    LEARNING_RATE = 4
    RECIPE = 5
    CURVES = 6
    CAPACITY = 7

    @property
    def title(self) -> str:
        """The stage's name as a reader sees it."""
        return _STAGE_TITLES[self]


_STAGE_TITLES = {
    Stage.WIRING: "Wiring",
    Stage.DATA: "Data",
    Stage.GRADIENTS: "Gradients",
    Stage.LEARNING_RATE: "Learning rate",
    Stage.RECIPE: "Recipe",
    Stage.CURVES: "Curves",
    Stage.CAPACITY: "Capacity",
}


class Severity(str, enum.Enum):
    """How bad a failure is. *Error*: measured evidence that training is broken or learns the wrong thing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for an error, 2 for a note: smaller is worse."""
        return list(Severity).index(self)


class Outcome(str, enum.Enum):
    """What became of a rule in this run."""

    PASS = "pass"
    FAIL = "fail"
    BLOCKED = "blocked"
    NOT_RUN = "not-run"


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A change to the user's source, by the name of the function in ``trainlint.edits`` that can make it."""

    kind: str
    """As ``shuffle-loader``; ``trainlint.edits.KINDS`` lists them."""
    at: Location | None = None
    """The line to change; the finding's own when None."""
    values: dict[str, Any] = field(default_factory=dict)
    """What the change needs to know, as ``{"lr": 0.003}``."""


@dataclass(frozen=True, kw_only=True)
class Fix:
    """The change to make: in words, and as code in the style of the user's own script."""

    summary: str
    code: str = ""
    diff: str = ""
    """The change to the user's own file as a unified diff, where it could be made out; empty otherwise."""
    safe: bool = False
    """Whether ``diff`` may be applied without a look; otherwise it is to be reviewed."""
    edit: Edit | None = None
    """How ``diff`` is made from the user's source, where the rule knows a change that fits."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What became of trying the fix on the user's own model and batches, from the same weights and seeds."""

    helped: bool
    summary: str
    """What was changed and what came of it, in one sentence; when not tried, why."""
    tried: bool = True
    before: float | None = None
    after: float | None = None
    measure: str = ""
    """What ``before`` and ``after`` are, as "loss after 40 steps on new batches"."""
    curves: Series | None = None
    """The same measurement as it is and under the fix."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The verdict of one rule."""

    code: str
    name: str
    stage: Stage
    outcome: Outcome
    severity: Severity
    """For a failure how bad it is; for every other outcome the worst this rule can say."""
    message: str
    """One sentence with the measured numbers."""
    evidence: dict[str, Json] = field(default_factory=dict)
    """Measured value, expected value, threshold and whatever else the message rests on."""
    location: Location | None = None
    """Where to look in the user's own code."""
    why: str = ""
    """Why it matters, in a sentence or two."""
    source: str = ""
    """The paper or documentation the threshold or advice comes from."""
    fix: Fix | None = None
    proof: Proof | None = None
    blocked_by: str | None = None
    """Name of the failed rule that makes this one meaningless."""
    reason: str = ""
    """Why a rule was not run or is blocked."""
    known: bool = False
    """Whether a baseline lists this failure: it is shown and counted, but fails nothing."""
    ignored: bool = False
    """Whether it failed and a comment in the user's code takes it back; its outcome is then ``not-run``."""
    details: tuple[Detail, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether this finding is a failure of any severity."""
        return self.outcome is Outcome.FAIL

    def __str__(self) -> str:
        from trainlint.brief import brief

        return brief(self)


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
        from trainlint.brief import briefs
        from trainlint.errors import FindingsError

        __tracebackhide__ = True
        if found := self.at_or_above(Severity(severity)):
            raise FindingsError(briefs(found, self.start_here))
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
        from trainlint.brief import brief
        from trainlint.errors import FindingsError, UnknownRuleError

        __tracebackhide__ = True
        try:
            finding = self[name]
        except KeyError:
            raise UnknownRuleError(name, [f.name for f in self.findings]) from None
        if finding.outcome is Outcome.BLOCKED:
            raise FindingsError(f"{brief(finding)}\n{brief(self[str(finding.blocked_by)])}")
        if finding.outcome is not Outcome.PASS:
            raise FindingsError(brief(finding))
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
        from trainlint.renderers import load_renderers

        return load_renderers()[style].render(self)

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its styles and a notebook's leave each other alone."""
        page = html.escape(self.to_html())
        return f'<iframe title="trainlint report" sandbox="allow-popups" srcdoc="{page}" style="width:100%;height:640px;border:0"></iframe>'
