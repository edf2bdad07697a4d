"""A change to a file as people read it."""

from __future__ import annotations

import re

__all__ = ["hunks", "is_example"]


def hunks(diff: str) -> str:
    """The lines of a unified diff as people read them: no headers, no blank lines around a change; a gap between two is an ellipsis."""
    parts: list[list[str]] = []
    for line in diff.splitlines():
        if line.startswith("@@"):
            parts.append([])
        elif parts and not line.startswith("\\"):
            parts[-1].append(line)
    return "\n ⋮\n".join("\n".join(_trimmed(part)) for part in parts)


def _trimmed(lines: list[str]) -> list[str]:
    told = [i for i, line in enumerate(lines) if line.strip()]
    return lines[told[0] : told[-1] + 1] if told else []


def is_example(code: str, diff: str) -> bool:
    """Whether the code of a fix shows how it is done, and is no change of the user's own lines."""
    return bool(code) and not diff and not re.search(r"^[-+]", code, re.MULTILINE)
