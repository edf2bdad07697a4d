"""YOLOv5's ``results.txt``: no header, blanks between cells, the epoch as ``0/99`` and the memory as ``3.15G``."""

from __future__ import annotations

import re

from trainlint.curves.log import Log
from trainlint.curves.readers.source import Source

__all__ = ["FORMAT", "matches", "read"]

FORMAT = "yolov5-results-txt"

_LINE = re.compile(r"\s*(\d+)/\d+\s+[\d.]+[GM]\s+(.*)")
_NAMES = (
    "train/box_loss", "train/obj_loss", "train/cls_loss", "train/total_loss", "labels", "img_size", "metrics/precision", "metrics/recall",
    "metrics/mAP_0.5", "metrics/mAP_0.5:0.95", "val/box_loss", "val/obj_loss", "val/cls_loss",
)  # fmt: skip


def matches(source: Source) -> bool:
    """Whether most of the first lines have such an epoch, such a memory and as many cells."""
    lines = source.head_lines(20)
    found = [m for m in map(_LINE.match, lines) if m and len(m[2].split()) == len(_NAMES)]
    return len(found) >= max(1, 0.7 * len(lines))


def read(source: Source, log: Log) -> None:
    """Add one row an epoch, under the names that later versions of the program write."""
    lines = source.lines()
    for line in lines:
        match = _LINE.match(line)
        cells = match[2].split() if match else []
        if match and len(cells) == len(_NAMES):
            log.add({"epoch": match[1], **dict(zip(_NAMES, cells, strict=True))}, lines.number)
