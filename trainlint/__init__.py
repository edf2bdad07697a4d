"""Find the bug in a PyTorch training run before you wait a night for it.

Four ways in: ``trainlint scan train.py`` on an unmodified script, ``trainlint watch train.py`` and
:func:`watch` on a whole run, :func:`check` on a model and a loader, and the rules and
report formats that other packages add. Importing this package imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainlint.checking import check
    from trainlint.curves.classify import classify
    from trainlint.errors import FindingsError, InputError, TrainlintError, UsageError
    from trainlint.finding import Finding, Fix, Outcome, Proof, Severity, Stage
    from trainlint.location import Location
    from trainlint.report import Cost, Report, Subject
    from trainlint.rule import Rule, Verdict, failed, not_run, passed
    from trainlint.scanning import ScanError, scan
    from trainlint.settings import Settings
    from trainlint.version import __version__
    from trainlint.watching.api import Watch, watch

_HOMES = {
    "Cost": "report",
    "Finding": "finding",
    "FindingsError": "errors",
    "Fix": "finding",
    "InputError": "errors",
    "Location": "location",
    "Outcome": "finding",
    "Proof": "finding",
    "Report": "report",
    "Rule": "rule",
    "ScanError": "scanning",
    "Settings": "settings",
    "Severity": "finding",
    "Stage": "finding",
    "Subject": "report",
    "TrainlintError": "errors",
    "UsageError": "errors",
    "Verdict": "rule",
    "Watch": "watching.api",
    "__version__": "version",
    "check": "checking",
    "classify": "curves.classify",
    "failed": "rule",
    "not_run": "rule",
    "passed": "rule",
    "scan": "scanning",
    "watch": "watching.api",
}

__all__ = [
    "Cost",
    "Finding",
    "FindingsError",
    "Fix",
    "InputError",
    "Location",
    "Outcome",
    "Proof",
    "Report",
    "Rule",
    "ScanError",
    "Settings",
    "Severity",
    "Stage",
    "Subject",
    "TrainlintError",
    "UsageError",
    "Verdict",
    "Watch",
    "__version__",
    "check",
    "classify",
    "failed",
    "not_run",
    "passed",
    "scan",
    "watch",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"trainlint.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
