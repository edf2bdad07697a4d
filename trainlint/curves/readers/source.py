"""A file to be read: its beginning for telling formats apart, and its lines one by one whatever their ends and length."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainlint.curves.errors import LogError

__all__ = ["Lines", "Source", "open_source"]

_HEAD = 65_536
_CHUNK = 1 << 20
_LONGEST_LINE = 1_000_000
"""Characters of a line that are read; a longer one counts as several."""
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
#: First bytes of files that people mistake for logs, and what to do instead. Pickles are never opened: they can run code.
_KNOWN = {
    b"\x1f\x8b": "it is compressed (gzip); unpack it first",
    b"BZh": "it is compressed (bzip2); unpack it first",
    b"\xfd7zXZ": "it is compressed (xz); unpack it first",
    b"(\xb5/\xfd": "it is compressed (zstandard); unpack it first",
    b"PK\x03\x04": "it is a zip archive (a checkpoint, .npz or .xlsx); give the log as CSV, JSON or text",
    b"\x89PNG": "it is a picture; give the numbers it was drawn from",
    b"\x89HDF": "it is an HDF5 file; export the history as CSV or JSON",
    b"SQLite": "it is a database; export the run as CSV",
    b"PAR1": "it is a Parquet file; export it as CSV",
    b"\x93NUMPY": "it is a NumPy array; save it as CSV",
    b"%PDF": "it is a PDF; give the log as CSV, JSON or text",
}


@dataclass(frozen=True)
class Source:
    """An existing, non-empty file."""

    path: Path
    head: bytes
    encoding: str = "utf-8"

    def text(self) -> str:
        """The beginning as text."""
        return _ANSI.sub("", self.head.decode(self.encoding, "replace"))

    def is_binary(self) -> bool:
        """Whether so much of the beginning is no text that no text reader can make sense of it."""
        text = self.head.decode(self.encoding, "replace")
        odd = sum(1 for c in text if c == "\ufffd" or (c < " " and c not in "\t\r\n\x1b\b\f"))
        return odd > 0.1 * len(text)

    def head_lines(self, most: int = 200) -> list[str]:
        """The first whole lines with something in them."""
        lines = self.text().splitlines()
        if len(self.head) == _HEAD and len(lines) > 1:
            lines.pop()
        return [line.rstrip() for line in lines if line.strip()][:most]

    def lines(self) -> Lines:
        """All lines with something in them; of a progress bar redrawn with carriage returns what it ended as."""
        return Lines(self.path, self.encoding)


class Lines(Iterator[str]):
    """The lines of a file that hold something, one by one; ``number`` is where the last one given stands, from 1."""

    def __init__(self, path: Path, encoding: str) -> None:
        self.number = 0
        self._numbered = _numbered(path, encoding)

    def __next__(self) -> str:
        self.number, line = next(self._numbered)
        return line


def _numbered(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    with path.open(encoding=encoding, errors="replace", newline="\n") as file:
        number, rest = 1, ""
        while chunk := file.read(_CHUNK):
            lines = (rest + chunk).split("\n")
            rest = lines.pop()
            for line in lines:
                if shown := _shown(line):
                    yield number, shown
                number += 1
            if len(rest) > _LONGEST_LINE:
                yield number, rest
                rest = ""
        if shown := _shown(rest):
            yield number, shown


def _shown(line: str) -> str:
    """What a terminal would show of a line; empty for a blank one."""
    text = line.rstrip()
    if "\r" in text:
        text = text.rsplit("\r", 1)[-1]
    return _ANSI.sub("", text) if "\x1b" in text else text


def open_source(path: Path) -> Source:
    """Look at a file's beginning; raises :class:`LogError` for what no reader can use."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise LogError(path, error.strerror or str(error)) from error
    if not head.strip(b"\0 \t\r\n"):
        raise LogError(path, "it is empty" if not head else "there is nothing but blanks in it")
    for magic, what in _KNOWN.items():
        if head.startswith(magic):
            raise LogError(path, what)
    if re.match(rb"\x80[\x02-\x05][}\]cXK(\x95\x8a]", head):
        raise LogError(path, "it is a pickle, which can run code when it is opened; save the history as JSON or CSV")
    return Source(path, head, _encoding(head))


def _encoding(head: bytes) -> str:
    found = next((name for bom, name in _BOMS.items() if head.startswith(bom)), None)
    if found:
        return found
    if head[1::2].count(0) > len(head) // 4:
        return "utf-16-le"
    return "utf-8"
