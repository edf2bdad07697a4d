"""The report as one self-contained page: no script, no request, readable offline, on paper and by screen readers."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from trainlint.details import Bars, Detail, Series
from trainlint.diffs import is_example
from trainlint.finding import Finding, Outcome
from trainlint.report import Report

from .charts import DASHES, Chart, draw, line_colour
from .markup import code_rows, diff_rows, fix_rows, linked, prose
from .outline import blocked, details_of, lanes, measured, sections, subject, topics, turns
from .phrases import count, counts, frame, headline, label, number, seconds, stage_states, state, visible

__all__ = ["HtmlRenderer", "Page"]

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_ROWS = 200
"""Rows of a table that are shown; the JSON report holds all."""
_SMALL_PICTURE = 96
"""Pictures up to this many pixels wide are enlarged as squares instead of being blurred."""
_HOME = re.compile(r"(?<![\w+/.~-])(?:/home/[^/\s<>\"']+|/Users/[^/\s<>\"']+|/root|[A-Za-z]:\\Users\\[^\\\s<>\"']+)(?=[/\\])")
"""A home folder at the start of a path: the name in it is nobody's business whom the page is sent to."""


class HtmlRenderer:
    """One file for people."""

    name = "html"
    suffix = ".html"

    def render(self, report: Report, *, color: bool = False, width: int = 100, verbosity: int = 0) -> str:  # noqa: ARG002
        """The whole page; the options of terminals change nothing."""
        style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
        html = (
            _environment()
            .get_template("report.html.j2")
            .render(
                report=report,
                page=Page(report),
                verdict=headline(report),
                counts=counts(report),
                stages=stage_states(report),
                sections=sections(report),
                topics=topics(report),
                blocked=blocked(report),
                passed=[f for f in report if f.outcome is Outcome.PASS],
                not_run=[f for f in report if f.outcome is Outcome.NOT_RUN],
                measured=measured(report),
                style=Markup(style),
                style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            )
        )
        return _HOME.sub("~", html)


class Page:
    """What templates ask for while one page is written."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._numbers = itertools.count(1)

    def chart(self, detail: Series | Bars) -> Chart:
        """The drawing of a chart, with ids of its own."""
        return draw(detail, f"chart{next(self._numbers)}")

    def details(self, finding: Finding) -> tuple[Detail, ...]:
        """What to show beside a finding's words."""
        return details_of(finding, self._report)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    environment.filters |= {
        "code_rows": code_rows,
        "count": count,
        "diff_rows": diff_rows,
        "fix_rows": fix_rows,
        "frame": frame,
        "label": label,
        "lanes": lanes,
        "line_colour": line_colour,
        "linked": linked,
        "number": number,
        "png_width": _png_width,
        "pairs": lambda bars: tuple(zip(bars.labels, bars.values, strict=False)),
        "prose": prose,
        "seconds": seconds,
        "state": state,
        "subject": subject,
        "turns": turns,
    }
    environment.tests["example"] = lambda fix: is_example(fix.code, fix.diff)
    environment.globals |= {
        "most_rows": _MOST_ROWS,
        "small_picture": _SMALL_PICTURE,
        "dashes": DASHES,
    }
    return environment


def _png_width(png: str) -> int:
    """Pixels across, 0 when it is no PNG."""
    try:
        head = base64.b64decode(png, validate=True)[:24]
    except ValueError:
        return 0
    return int.from_bytes(head[16:20], "big") if head.startswith(b"\x89PNG\r\n") else 0


def _shown(value: Any) -> Any:
    """What a template writes: text without control characters; markup made by us as it is."""
    return value if isinstance(value, Markup) else visible(str(value))
