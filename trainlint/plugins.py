"""Finds what installed packages bring: ours and third parties' come the same way, through entry points."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

from trainlint.errors import PluginError

__all__ = ["gathered"]


@lru_cache(maxsize=8)
def gathered(group: str, attribute: str) -> dict[str, Any]:
    """One object of each class that the modules of a group of entry points list under an attribute, by the classes' ``name``.

    Raises:
        PluginError: A module could not be loaded, or a class not be made.
    """
    found: dict[str, Any] = {}
    for point in entry_points(group=group):
        try:
            found |= {kind.name: kind() for kind in getattr(point.load(), attribute, ())}
        except Exception as error:
            raise PluginError(point.name, point.value, error) from error
    return found
