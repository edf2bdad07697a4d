"""What a check says: a finding, its fix, and what came of trying it. Plain data, no torch, no rendering."""

from __future__ import annotations

import enum
import textwrap
from dataclasses import dataclass, field
from typing import Any

from trainlint.details import Detail, Series
from trainlint.diffs import hunks, is_example
from trainlint.location import Location

__all__ = ["Edit", "Finding", "Fix", "Outcome", "Proof", "Severity", "Stage"]

#: Anything JSON can hold; evidence values are numbers, words and short lists of them.
Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


#: Lines of a fix's code that a finding says in short; the report holds all.
_CODE = 12


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
        """The failure in some five lines: what, where, the user's line, the change to make; in one line the outcome of a rule that did not fail."""
        head = f"{self.code} {self.name}"
        if not self.failed:
            return f"{head}: {self.outcome.value}{f' ({self.reason})' if self.reason else ''}"
        lines = [f"{head} ({self.severity.value}): {self.message}"]
        if self.location is not None:
            text = f"    {self.location.text}" if self.location.text else ""
            lines.append(f"  at {self.location}{text}")
        if self.fix is not None:
            lines.append(f"  fix: {self.fix.summary}{' For example:' if is_example(self.fix.code, self.fix.diff) else ''}")
            code = (hunks(self.fix.diff) or self.fix.code).splitlines()
            lines += textwrap.indent("\n".join([*code[:_CODE], *(["..."] if len(code) > _CODE else [])]), "    ").splitlines()
        if self.proof is not None and self.proof.tried and self.proof.helped:
            lines.append(f"  tried: {self.proof.summary}")
        lines.append(f"  more: trainlint explain {self.name}")
        return "\n".join(lines)
