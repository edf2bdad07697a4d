"""Report formats, and where they are found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from trainlint.plugins import gathered

if TYPE_CHECKING:
    from trainlint.report import Report

__all__ = ["Renderer", "load_renderers"]


class Renderer(Protocol):
    """A report format: turns a report into text. ``name`` is what ``--format`` takes."""

    name: str
    suffix: str
    """File suffix, with its dot."""

    def render(self, report: Report, *, color: bool = False, width: int = 100, verbosity: int = 0) -> str:
        """The whole report as text; ``color``, ``width`` and ``verbosity`` only matter to a terminal format."""
        ...


def load_renderers() -> dict[str, Renderer]:
    """All installed report formats by name."""
    return gathered("trainlint.reports", "RENDERERS")
