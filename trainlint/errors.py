"""What can go wrong that is the user's to mend. Every message says what happened and what to do.

TrainlintError
├── UsageError            a wrong argument, file or setting (exit code 2)
│   ├── UnknownRuleError
│   └── InputError        objects that check() or a recipe cannot work with
├── DivergedError         a training by the recipe whose loss is no longer finite
├── FindingsError         an assertion on a report that does not hold
└── PluginError           a rule or format package that does not load
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = [
    "DivergedError",
    "FindingsError",
    "InputError",
    "PluginError",
    "TrainlintError",
    "UnknownRuleError",
    "UsageError",
    "first_line",
    "unknown",
]


class TrainlintError(Exception):
    """Base of all errors of this package that are meant for the user's eyes."""


class UsageError(TrainlintError):
    """A wrong argument, file or setting."""


class UnknownRuleError(UsageError):
    """No rule has that name or code; of ``known``, the shortest that holds it is meant, or else the one that reads most like it."""

    def __init__(self, name: str, known: Sequence[str] = ()) -> None:
        low = name.lower()
        holds = sorted((k for k in known if len(low) > 1 and low in k), key=len)
        near = holds or difflib.get_close_matches(low, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; `trainlint rules` lists them"
        super().__init__(f"there is no rule {name!r}{hint}")


class InputError(UsageError):
    """The model, loader or function handed over cannot be used; the message says what to pass."""


class DivergedError(TrainlintError):
    """The loss of a training by the recipe is no longer finite."""


class FindingsError(TrainlintError, AssertionError):
    """An assertion on a report does not hold; the message is the findings in short."""


class PluginError(TrainlintError):
    """A package that offers rules or formats failed to load."""

    def __init__(self, name: str, value: str, error: BaseException) -> None:
        super().__init__(
            f"plug-in {name!r} ({value}) could not be loaded: {type(error).__name__}: {error}. Uninstall or mend that package."
        )


def first_line(error: BaseException) -> str:
    """What another library's exception says, in one line; its kind when it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def unknown(name: str, known: Iterable[str]) -> str:
    """``'nmae'; did you mean 'name'?`` for a message about a name that does not exist."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"{name!r}; " + (f"did you mean {near[0]!r}?" if near else f"it takes: {', '.join(known) or 'nothing'}")
