"""Finds report formats: ours and third parties' come the same way, through entry points."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from trainlint.errors import PluginError

if TYPE_CHECKING:
    from trainlint.finding import Report

__all__ = ["Renderer", "load_renderers"]


class Renderer(Protocol):
    """A report format: turns a report into text. ``name`` is what ``--format`` takes."""

    name: str
    suffix: str
    """File suffix, with its dot."""

    def render(self, report: Report, *, color: bool = False, width: int = 100, verbosity: int = 0) -> str:
        """The whole report as text; ``color``, ``width`` and ``verbosity`` only matter to a terminal format."""
        ...


@lru_cache(maxsize=1)
def load_renderers() -> dict[str, Renderer]:
    """All installed report formats by name."""
    found: dict[str, Renderer] = {}
    for point in entry_points(group="trainlint.reports"):
        try:
            module = point.load()
            found |= {kind.name: kind() for kind in module.RENDERERS}
        except Exception as error:
            raise PluginError(point.name, point.value, error) from error
    return found
