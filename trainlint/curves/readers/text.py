"""Plain text: names and numbers wherever they stand in a line, tables printed in between, JSON after a prefix.

A number's name is what stands before it (``val_loss: 0.4``, ``loss_train, 0.8``, ``lr: [1e-3]``); a line such as ``train Loss: 2.1 Acc: 40``
lends its names the split they do not say themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from trainlint.curves.columns import kind_of, says_split
from trainlint.curves.log import Log, number
from trainlint.curves.readers.flat import SUMMARY, flatten
from trainlint.curves.readers.jsonlines import parse_object
from trainlint.curves.readers.prefix import message
from trainlint.curves.readers.source import Source

__all__ = ["FORMAT", "matches", "read"]

FORMAT = "text"

_NUMBER = re.compile(
    r"(?<![\w.+\-/@])[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|NaN|NAN|inf|Inf|Infinity)(?![\w@]|\.\d)(\s*/\s*\d+(?![\w.]))?%?"
)
_CLOCK = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\w*,? +\w{3} +\d{1,2} +\d\d:\d\d:\d\d(?: +[A-Z]{3,4})? +\d{4}|\d{4}-\d\d-\d\d[ T]?|\d{1,2}:\d\d(:\d\d)?([.,]\d+)?"
)
_SPLIT = re.compile(
    r"(?<![/\w.\-])(?:(train|training|trn)|(val|valid|validate|validation|validating|eval|evaluation|evaluating|dev)|(test|testing))(?![/\w]|\.\w)",
    re.I,
)
_HEADING = re.compile(
    r"\W*(?:\w+\s+)?(?:train|training|val|valid|validation|eval|evaluation|test|testing)\b(?:\W*(?:epoch|phase|set|results?|metrics|stats|for|of|on))*\W*[\d/]*\W*",
    re.I,
)
_INDEX = re.compile(r"\W{0,2}\[?(\d+)\]?\s*[:\]\s](?!\s*/)")
#: A progress bar, and the times and speed in brackets after it unless values stand among them.
_BAR = re.compile(r"\s*\d+%\|.*?\|\s*\d+/\d+\s*(?:\[[^\]=]*(?:\]|$))?")
#: Keras' bars as they go to a file: a line a step, the last of an epoch without an ETA.
_BAR_ENDS = re.compile(r"\d+/\d+ \[=+\](?! - ETA)")
_BAR_GOES_ON = re.compile(r"\d+/\d+ \[[=>.]+\] - ETA")
_NAME = re.compile(r"[A-Za-z_][\w/@.()\-]*")
_PARTS = re.compile(r"[|;,\t]|\s{2,}|:(?=\s)|(?<=[A-Za-z]):(?=[A-Za-z])|\s-\s|\](?=\s+[A-Za-z])")
#: darknet: ``900: 0.599, 2.340 avg loss, 0.000656 rate, 0.19 seconds, 900 images``.
_DARKNET = re.compile(r"\s*(\d+):\s*(\S+),\s*(\S+) avg(?: loss)?,\s*(\S+) rate\b")
_COUNTS = frozenset({"epoch", "iteration"})
#: Before ``epoch`` they make it the number of them, or one that is not the present one.
_NO_COUNT = frozenset({"num", "total", "max", "n", "start", "last", "best", "end", "per", "final", "warmup", "previous", "stop", "resume"})
#: A name with one of these words speaks of a number without being its column ("improved from 0.3 to …", "best val_loss").
_TALK = frozenset({
    "from", "to", "than", "of", "at", "in", "after", "before", "best", "best:", "improve", "improved", "reducing", "reduced", "saving", "saved", "save", "took",
    "took:", "did", "not", "by",
})  # fmt: skip
_NO_NAME = " \t:=([{<>'\"*#~.–—→-"
_MOST_NAMES = 400


def matches(source: Source) -> bool:
    """Any text is tried."""
    return bool(source.head)


def read(source: Source, log: Log) -> None:
    """Add one row a line that has named numbers."""
    page = _Page()
    ends = _BAR_ENDS.search(source.text()) is not None
    lines = source.lines()
    for line in lines:
        if ends and _BAR_GOES_ON.search(line):
            continue  # the running mean over a part of an epoch; its end is in the file too
        cells = page.take(line)
        if not cells:
            continue
        known = {name: cell for name, cell in cells.items() if name in log.columns or len(log.columns) < _MOST_NAMES}
        if known:
            log.add(known, lines.number)
    if page.printed_tables:
        log.format = "text-table"


@dataclass
class _Page:
    """What earlier lines say about the next: the columns of a printed table, the split a heading names."""

    header: tuple[str, ...] = ()
    stamped: bool = False
    """Whether a logger wrote the header, and so the rows under it."""
    split: str = ""
    printed_tables: int = 0
    _lines_left: int = field(default=0)

    def take(self, line: str) -> dict[str, float | str]:
        """Names and numbers of one line."""
        embedded = _json_in(line) or _darknet(line)
        if embedded:
            return {} if SUMMARY in embedded else embedded
        text = _BAR.sub(" ", line).strip()
        if text.startswith("|"):
            text = text.strip("|").replace("|", "  ")
        said = message(text)
        header = _header(said)
        if header:
            self.header, self.stamped = header, said != text
            return {}
        row = _row(said if self.stamped else text, self.header)
        if row:
            self.printed_tables += 1
            return row
        if len(said) < 60 and _HEADING.fullmatch(said):
            self.split, self._lines_left = _split_of(said), 4
        elif self._lines_left > 0 and _split_of(said) in ("", self.split):
            self._lines_left -= 1
        else:
            self.split, self._lines_left = "", 0
        return _named_numbers(said[:4000], self.split)


def _json_in(line: str) -> dict[str, float | str]:
    start = line.find("{")
    if start < 0:
        return {}
    found = parse_object(line[start : line.rfind("}") + 1])
    return flatten(found) if found else {}


def _darknet(line: str) -> dict[str, float | str]:
    found = _DARKNET.match(line)
    return {} if found is None else dict(zip(("iteration", "loss of batch", "loss", "learning rate"), found.groups(), strict=True))


def _header(text: str) -> tuple[str, ...]:
    """The columns of a printed table: a line of names only, one of them a loss or the epoch."""
    words = text.rstrip(": ").split()
    if not 2 <= len(words) <= 40 or not all(_NAME.fullmatch(w) for w in words):
        return ()
    kinds = [kind_of(w) for w in words]
    if (
        kinds.count("loss") + kinds.count("metric") + kinds.count("axis") < 2
        or kinds.count("other") > 0.75 * len(words)
        or _TALK & set(words)
    ):
        return ()
    return tuple(words)


def _row(text: str, header: tuple[str, ...]) -> dict[str, float | str]:
    """A line under a header: as many cells or more, the first or at least most others numbers."""
    cells = text.split()
    if not header or len(cells) < len(header) or (not text[0].isdigit() and len(cells) != len(header)):
        return {}
    row: dict[str, float | str] = {}
    for name, cell in zip(header, cells, strict=False):
        value = number(cell.split("/")[0] if re.fullmatch(r"\d+/\d+", cell) else cell)
        if value is not None:
            row[name] = value
    return row if len(row) >= max(2, 0.6 * len(header)) else {}


def _named_numbers(text: str, split: str) -> dict[str, float | str]:
    plain = _CLOCK.sub(" ", text)
    cells: dict[str, float | str] = {}
    end = 0
    found = list(_NUMBER.finditer(plain))
    if found and not plain[: found[0].start()].strip(_NO_NAME) and kind_of(_name(plain[found[-1].end() :])) in ("loss", "metric"):
        return _name_after(plain, found)
    for match in found:
        name = _name(plain[end : match.start()])
        if name and len(cells) < 60:
            name = _with_split(name, plain[: match.start()], split)
            value = number(match[0].split("/")[0])
            if value is not None and name not in cells:
                cells[name] = value
        end = match.end()
    if cells and not any(kind_of(name) == "axis" for name in cells):
        index = _INDEX.match(plain)
        if index:
            cells["index"] = float(index[1])
    return cells


def _name_after(text: str, found: list[re.Match[str]]) -> dict[str, float | str]:
    """Numbers that stand before their names: ``0.35 train loss, 0.41 val loss``."""
    ends = [*(m.start() for m in found[1:]), len(text)]
    cells: dict[str, float | str] = {}
    for match, end in zip(found, ends, strict=True):
        name = _name(text[match.end() : end])
        value = number(match[0].split("/")[0])
        if name and kind_of(name) in ("loss", "metric", "axis") and value is not None:
            cells.setdefault(name, value)
    return cells


def _name(before: str) -> str:
    """The name that ends a stretch of text; empty when there is none, or when the words tell a story."""
    parts = [p for part in _PARTS.split(before) if (p := part.strip(_NO_NAME + ")]}%"))]
    if not parts:
        return ""
    words = parts[-1].split()
    lower = {w.lower() for w in words}
    if _TALK & lower:
        return ""
    if words[-1].lower() in _COUNTS and not lower & _NO_COUNT and not says_split(parts[-1]) and kind_of(parts[-1]) == "other":
        return words[-1]  # "Fine-Tune Epoch 2"
    name = " ".join(words[-4:]).strip(_NO_NAME)
    return name if any(c.isalpha() for c in name) and len(name) <= 80 else ""


def _with_split(name: str, before: str, split: str) -> str:
    if says_split(name) or kind_of(name) not in ("loss", "metric"):
        return name
    own = _split_of(before) or split
    return f"{own} {name}" if own else name


def _split_of(text: str) -> str:
    """The last split that is named as a word of its own."""
    last = next(reversed(list(_SPLIT.finditer(text))), None)
    return "" if last is None else "train" if last[1] else "val" if last[2] else "test"
