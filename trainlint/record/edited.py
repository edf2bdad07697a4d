"""The script as it would be after an edit: some of its files are read, run and imported with another text, and stay as they are."""

from __future__ import annotations

import linecache
import os
import tokenize
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path

from trainlint.record.overlay import Overlay

__all__ = ["edited"]


@contextmanager
def edited(overlay: Overlay, texts: Mapping[str, str]) -> Iterator[None]:
    """While the context lasts, each file is what ``texts`` names for its absolute path. Modules that are imported already stay."""
    instead = {os.path.realpath(path): text for path, text in texts.items()}
    for path, text in texts.items():
        overlay.read_as(path, text)
        whole = os.path.abspath(path)
        with tokenize.open(text) as source:
            lines = source.readlines()
        linecache.cache[whole] = (sum(map(len, lines)), None, lines, whole)  # without a time of change they stay
    stats, data = SourceFileLoader.path_stats, SourceFileLoader.get_data

    def path_stats(self: SourceFileLoader, path: str) -> Mapping[str, object]:
        if instead and os.path.realpath(path) in instead:
            raise OSError("no compiled code belongs to an edited text")
        return stats(self, path)

    def get_data(self: SourceFileLoader, path: str) -> bytes:
        text = instead.get(os.path.realpath(path)) if instead else None
        return data(self, path) if text is None else Path(text).read_bytes()

    SourceFileLoader.path_stats, SourceFileLoader.get_data = path_stats, get_data  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        SourceFileLoader.path_stats, SourceFileLoader.get_data = stats, data  # type: ignore[method-assign]
        for path in texts:
            linecache.cache.pop(os.path.abspath(path), None)
