"""Words and code as safe HTML. Everything that comes in is escaped; only what is made here is markup."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup, escape
from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import PythonLexer  # type: ignore[import-untyped]

from .phrases import visible

__all__ = ["CodeRow", "code_rows", "diff_rows", "fix_rows", "linked", "prose"]

_QUOTED = re.compile(r"`([^`\n]+)`")
_ADDRESS = re.compile(r"https?://[^\s<>\"'`]+[^\s<>\"'`.,;:)\]]")
_LEXER = PythonLexer(stripnl=False, ensurenl=False)
_FORMATTER = HtmlFormatter(nowrap=True)


@dataclass(frozen=True)
class CodeRow:
    """One line of code."""

    html: Markup
    number: int | None = None
    sign: str | None = None
    """``+``, ``-`` or empty in a diff."""
    marked: bool = False


def prose(text: str) -> Markup:
    """A sentence, with `` `names` `` set as code."""
    return _replace(_QUOTED, lambda found: Markup("<code>{}</code>").format(found[1]), visible(text))


def linked(text: str) -> Markup:
    """A sentence whose web addresses can be followed."""
    shown = Markup('<a href="{0}" rel="noopener noreferrer">{1}</a>')
    return _replace(_ADDRESS, lambda found: shown.format(found[0], re.sub(r"^https?://(www\.)?", "", found[0])), visible(text))


def code_rows(text: str, *, first_line: int | None = 1, marked: int | None = None) -> list[CodeRow]:
    """Python code by line; ``first_line`` None leaves the numbers out."""
    lines = _highlighted(visible(text).rstrip("\n").split("\n"))
    numbers = [None if first_line is None else first_line + i for i in range(len(lines))]
    return [CodeRow(line, n, marked=n is not None and n == marked) for line, n in zip(lines, numbers, strict=True)]


def diff_rows(diff: str) -> list[CodeRow]:
    """A unified diff of one file by line, less its head; a row of sign ``@`` stands between its parts."""
    lines = visible(diff).rstrip("\n").split("\n")
    first = next((i for i, line in enumerate(lines) if line.startswith("@@")), -1)
    lines = [line for line in lines[first + 1 :] if not line.startswith("\\")]
    rows = []
    for line, html in zip(lines, _highlighted(["" if line.startswith("@@") else line[1:] for line in lines]), strict=True):
        between = line.startswith("@@")
        rows.append(CodeRow(Markup("⋯") if between else html, sign="@" if between else line[:1].strip()))
    return rows


def fix_rows(code: str) -> list[CodeRow]:
    """A fix by line: a diff when its lines begin like one, else plain code."""
    lines = visible(code).rstrip("\n").split("\n")
    signs = [line[:1] for line in lines]
    if not {"+", "-"} & set(signs) or not set(signs) <= {"+", "-", " ", "", "@"}:
        return code_rows(code, first_line=None)
    plain = _highlighted([line[1:] for line in lines])
    return [CodeRow(html, sign=sign.strip(" @")) for html, sign in zip(plain, signs, strict=True)]


def _highlighted(lines: list[str]) -> list[Markup]:
    """Python code with its colours, as many lines as came."""
    return [Markup(line) for line in highlight("\n".join(lines) + "\n", _LEXER, _FORMATTER).removesuffix("\n").split("\n")]


def _replace(pattern: re.Pattern[str], make: Callable[[re.Match[str]], Markup], text: str) -> Markup:
    parts: list[Markup] = []
    end = 0
    for found in pattern.finditer(text):
        parts += [escape(text[end : found.start()]), make(found)]
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])
