"""A log that cannot be read."""

from __future__ import annotations

import os

from trainlint.errors import UsageError

__all__ = ["LogError"]


class LogError(UsageError):
    """A file is no training log that could be read; the message says why and what to do."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.reason = reason
