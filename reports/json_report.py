"""The report as JSON for programs; docs/json-schema.md describes it."""

from __future__ import annotations

from trainlint.report import Report
from trainlint.serialise import from_json, to_json

__all__ = ["JsonRenderer", "from_json"]


class JsonRenderer:
    """Strict JSON with everything that the report holds."""

    name = "json"
    suffix = ".json"

    def render(self, report: Report, *, color: bool = False, width: int = 100, verbosity: int = 0) -> str:  # noqa: ARG002
        """The whole report; the options of terminals change nothing."""
        return to_json(report) + "\n"
