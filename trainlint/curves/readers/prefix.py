"""What a logger, a launcher or a terminal puts before a line: time, level, logger, rank. It is no part of what the program wrote."""

from __future__ import annotations

import re

__all__ = ["message"]

_DATE = r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}"
#: Written so, a day is one only before a time: ``12/60`` alone is a count.
_DAY = r"(?:\d{1,2}[-/.]\d{1,2}(?:[-/.]\d{2,4})?|(?:[A-Z][a-z]{2},? +){1,2}\d{1,2}|\d{1,2}[ -][A-Z][a-z]{2}(?:[ -]\d{2,4})?)"
_TIME = r"\d{1,2}:\d\d:\d\d(?:[.,]\d+)?(?: ?[AP]M)?(?:Z|\s?[+-]\d\d:?\d\d|\s(?:UTC|GMT))?"
_STAMP = rf"(?:{_DATE}(?:[T\s,|_-]+{_TIME})?|(?:{_DAY}[T\s,|_-]+)?{_TIME})(?![\w:])"
_WORD = r"[A-Za-z_][\w.\\/-]*(?::\w+)?(?::\d+)?"
_LEVEL = r"(?:DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL|TRACE|SUCCESS)"
_ANY_LEVEL = rf"(?:\[\s*(?i:{_LEVEL})\s*\]|\((?i:{_LEVEL})\)|{_LEVEL}(?![\w=])|(?i:{_LEVEL}):)"
#: A split's name stays: a logger that is called ``eval`` says which loss the line tells.
_SPLIT = r"(?i:train|training|trn|val|valid|validation|eval|evaluation|dev|test|testing)"
_LOGGER = rf"(?!{_SPLIT}\b\s*[-|:\])]){_WORD}"
_NAME = r"[A-Za-z_][\w.]*"
_NO_VALUE = r"(?!\s*[-+]?\.?\d)"
_PART = re.compile(
    "|".join((
        rf"\[\s*(?:{_STAMP}|\d{{1,2}}:\d\d(?![\w:]))(?:[^\[\]<=\d]|(?<=[\w:])\d){{0,60}}\]",
        rf"\({_STAMP}\)",
        _STAMP,
        rf"[IWEF]\d{{4}} {_TIME}\s+\d+ [\w.-]+:\d+\]",  # absl, glog
        rf"(?:\[{_LOGGER}\]|\({_LOGGER}\)|{_LOGGER}\s*[-|:]|{_LOGGER}(?=\s+\[))(?=[\s:|-]*{_ANY_LEVEL})",
        rf"(?:DEBUG|INFO|WARNING):(?!{_SPLIT}:){_NAME}:",  # Python's basicConfig
        rf"{_ANY_LEVEL}\s*[-|]?\s+(?:(?:__\w+__|[\w./-]+\.py)(?::\d+)?|[\w.]+:[\w<>]+:\d+)\s*[-|:](?=\s)",  # a place in the source
        rf"{_ANY_LEVEL}\s*[-|]\s+{_LOGGER}\s+[-|](?=\s){_NO_VALUE}",
        rf"(?:DEBUG|INFO|WARN(?:ING)?)(?![\w=])|\[\s*(?i:{_LEVEL})\s*\]",
        rf"{_ANY_LEVEL}(?![\s:|=-]*[-+]?\.?\d)",  # "ERROR 0.31" is a metric
        r"\[?(?:(?i:global|local)[\s_-]?)?(?i:rank)[\s:=_-]{0,2}\d+(?:\s*/\s*\d+)?(?![\w.%])\]?",
        r"\[(?i:default|gpu|cuda|device|worker|node)[\s:_-]?\d+\]",
        r"\([A-Za-z_][\w.-]*\s+pid=\d+(?:,\s*ip=[\d.]+)?\)",  # Ray
        r"\[\d+(?:\.\d+)? ?(?:s|sec|seconds|min)\]",  # time since the start
        r"std(?:out|err) [FP](?=\s)",  # Kubernetes
    ))
)  # fmt: skip
_LONGEST = 160
"""Characters of a part; what is longer is none, and no line takes long."""
_BETWEEN = re.compile(r"(?:[\s:|,;>–—]|-(?!\.?\d))*")


def message(line: str) -> str:
    """A line without what stands before the message: ``[2026-01-31 12:00:00] INFO step 5`` is ``step 5``."""
    at = 0
    while found := _PART.match(line, at, at + _LONGEST):
        between = _BETWEEN.match(line, found.end())
        at = between.end() if between else found.end()
    return line[at:]
