"""What a rule is: a small pure function from measurements to a verdict, with its page as the module's docstring.

A rule reads like this::

    class InitLoss(Rule):
        code = "TL101"
        name = "init-loss"
        stage = Stage.WIRING
        severity = Severity.ERROR
        summary = "The first loss is what an untrained model should have"
        requires = (Loss,)

        def judge(self, loss: Loss) -> Verdict:
            ...

The engine hands ``judge`` the measurements named in ``requires``, in that order, and nothing else.
"""

from __future__ import annotations

import inspect
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from trainlint.details import Detail
from trainlint.errors import UsageError, unknown
from trainlint.finding import Fix, Json, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import Measurement
from trainlint.report import Report
from trainlint.wording import plain

__all__ = ["NoOptions", "Rule", "Verdict", "failed", "not_run", "passed"]


#: What a page may have of its own: a title, which is shown above it anyway, and two of its headings.
_TITLE = re.compile(r"\A(?:#\s[^\n]*|[^\n]+\n[=-]{3,})(?:\n+|\Z)")
_WHY = re.compile(r"^#+ why\b", re.MULTILINE | re.IGNORECASE)
_REFERENCES = re.compile(r"^#+ (?:references?|sources?)\b", re.MULTILINE | re.IGNORECASE)
_ADDRESS = re.compile(r"(?<![<\w])(https?://[^\s<>]+)")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a rule decided; made with :func:`passed`, :func:`failed` or :func:`not_run`."""

    kind: str
    message: str = ""
    severity: Severity | None = None
    evidence: dict[str, Json] = field(default_factory=dict)
    location: Location | None = None
    fix: Fix | None = None
    details: tuple[Detail, ...] = ()


def passed(message: str, *, evidence: dict[str, Json] | None = None, details: tuple[Detail, ...] = ()) -> Verdict:
    """The rule looked and found nothing wrong; ``message`` says what it saw, with the number."""
    return Verdict(kind="pass", message=plain(message), evidence=evidence or {}, details=details)


def failed(
    message: str,
    *,
    severity: Severity,
    fix: Fix,
    evidence: dict[str, Json] | None = None,
    location: Location | None = None,
    details: tuple[Detail, ...] = (),
) -> Verdict:
    """The rule found a fault: one sentence with the measured numbers, the place and the change to make."""
    return Verdict(
        kind="fail",
        message=plain(message),
        severity=severity,
        evidence=evidence or {},
        location=location,
        fix=replace(fix, summary=plain(fix.summary)),
        details=details,
    )


def not_run(reason: str) -> Verdict:
    """The rule cannot judge this pipeline, and why. Never use it to hide a doubt: that is a note."""
    return Verdict(kind="not-run", message=plain(reason))


@dataclass(frozen=True)
class NoOptions:
    """What a rule without options of its own takes."""


class Rule(ABC):
    """One check of the catalogue. Subclasses set the class attributes and write :meth:`judge`."""

    code: ClassVar[str]
    """``TL`` and three digits; the first is the stage. Never reused."""
    name: ClassVar[str]
    """What users type: the fault as a noun, equal to the module's name with dashes."""
    stage: ClassVar[Stage]
    severity: ClassVar[Severity]
    """The worst this rule can say."""
    summary: ClassVar[str]
    """What holds when the rule passes, as a sentence without a full stop."""
    why: ClassVar[str]
    """Why a failure matters, in one or two sentences."""
    source: ClassVar[str]
    """The paper or documentation that the rule stands on, with an address."""
    requires: ClassVar[tuple[type[Measurement], ...]]
    """Measurements handed to :meth:`judge`, in this order."""
    blocked_by: ClassVar[tuple[str, ...]] = ()
    """Names of rules whose *error* makes this one meaningless."""
    judges_loop: ClassVar[bool] = False
    """It asks how the script's own loop goes about training, so it is not run on a model and a loader in hand."""
    only_when_others_pass: ClassVar[bool] = False
    """A last resort: blocked by the error or warning of any rule before it."""
    despite: ClassVar[tuple[str, ...]] = ()
    """With ``only_when_others_pass``: names of rules whose failure is the very thing that this one explains."""

    Options: ClassVar[type] = NoOptions
    """A frozen dataclass whose fields, with their defaults, are what ``[tool.trainlint.rules.<name>]`` may set."""

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """Take options by name, with dashes or underscores.

        Raises:
            UsageError: There is no such option, or its value is of the wrong kind.
        """
        given = {key.replace("-", "_"): value for key, value in (options or {}).items()}
        limit = given.pop("severity", None)
        known = [f.name for f in fields(self.Options)]
        for key in given:
            if key not in known:
                raise UsageError(f"rule {self.name} has no option {unknown(key, [*known, 'severity'])}")
        try:
            self.options: Any = msgspec.convert(given, self.Options)
        except (msgspec.ValidationError, ValueError) as error:
            raise UsageError(f"rule {self.name}: {error}") from error
        levels = [s.value for s in Severity]
        if limit is not None and limit not in levels:
            raise UsageError(f"rule {self.name}: severity must be one of {', '.join(levels)}, not {limit!r}")
        self.at_most = Severity(limit) if limit is not None else None
        """The worst that a failure counts as, where the user has lowered it."""

    @abstractmethod
    def judge(self, *measurements: Any, **_: Any) -> Verdict:
        """Decide from the measurements alone. Pure: no torch, no files, no state."""

    @classmethod
    def page(cls) -> str:
        """The rule's page in Markdown: the docstring of its module without a title, with ``why`` and ``source`` where it lacks them."""
        page = _TITLE.sub("", inspect.cleandoc(sys.modules[cls.__module__].__doc__ or ""))
        parts = [page or f"{cls.summary}."]
        if not _WHY.search(page) and cls.why not in page:
            parts.append(f"## Why it matters\n\n{cls.why}")
        if not _REFERENCES.search(page) and cls.source not in page:
            source = _ADDRESS.sub(r"<\1>", cls.source)
            parts.append(f"## References\n\n- {source}")
        return "\n\n".join(parts)

    @classmethod
    def sample(cls) -> Report | None:
        """What the report shows of this fault: ``samples/<name>.json`` beside the module, a saved report; None when there is none."""
        from trainlint.serialise import from_json

        path = Path(sys.modules[cls.__module__].__file__ or "").parent / "samples" / f"{cls.name}.json"
        return from_json(path.read_bytes()) if path.is_file() else None
