"""Where a loader's data was asked for: the call of the user's function that built its dataset, read off the source."""

from __future__ import annotations

import ast

from trainlint.probes.source.scopes import called, calls_at, scope_at, set_last
from trainlint.record.frames import Place
from trainlint.record.seen import Loader

__all__ = ["asked_at"]

#: Variables that are followed.
_MOST = 4


def asked_at(entry: Loader, built: Place | None) -> Place | None:
    """The line that called the function in which a loader's dataset was built, with what that made it of.

    None where the loader was built in the same function, or the source does not tell.
    """
    if entry.place is None or built is None or built[2] == "<module>" or built[2] == entry.place[2]:
        return None
    scope = scope_at(entry.place, entry.callers)
    calls = [c for c in calls_at(scope, entry.place[1]) if called(c).endswith("DataLoader")] if scope is not None else []
    if len(calls) != 1 or scope is None:
        return None
    value = calls[0].args[0] if calls[0].args else next((k.value for k in calls[0].keywords if k.arg == "dataset"), None)
    for _ in range(_MOST):
        if isinstance(value, ast.Subscript):
            value = value.value
        elif isinstance(value, ast.Name):
            value = set_last(scope, value, value.lineno)
    return (scope.filename, value.lineno, scope.name) if isinstance(value, ast.Call) and called(value) == built[2] else None
