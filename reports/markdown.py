"""The report as Markdown, for the summary of a CI job or a comment on a pull request.

Everything from outside is written with character references, which stand for themselves in GitHub's and GitLab's Markdown as
well as inside HTML: no name can open a tag, a table cell or a link, and none can mention a person.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from trainlint.details import Table
from trainlint.diffs import is_example
from trainlint.finding import Finding, Outcome
from trainlint.report import Report

from .phrases import count, counts, headline, label, number, seconds, state, visible

__all__ = ["MarkdownRenderer", "fenced"]

_SIGNS = {"error": "❌", "warning": "⚠️", "note": "ℹ️", "known": "📌", "pass": "✅", "blocked": "⛔", "ignored": "🙈", "not-run": "➖"}
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>&#|~@$!^\"']")
_CODE = re.compile(r"`([^`\n]+)`")
_ADDRESS = re.compile(r"https?://[^\s<>\"'`()]+[^\s<>\"'`.,;:()\]]")
_MAIN_EVIDENCE = ("measured", "expected", "threshold")


class MarkdownRenderer:
    """The root cause in full, every other failure folded under one line, the rest as lists to unfold."""

    name = "markdown"
    suffix = ".md"

    def render(self, report: Report, *, color: bool = False, width: int = 100, verbosity: int = 0) -> str:  # noqa: ARG002
        """The whole document; the options of terminals change nothing."""
        return "\n".join(_document(report)).rstrip("\n") + "\n"


def _document(report: Report) -> Iterator[str]:
    verdict, first = headline(report), report.start_here
    # A bot that keeps one comment up to date finds it by this line.
    yield "<!-- trainlint -->"
    yield f"## {_SIGNS[verdict.state]} {_prose(verdict.title)} in {_code(report.subject.name)}\n"
    yield f"{_prose(verdict.text)}\n"
    for note in report.subject.notes:
        yield f"> {_prose(note)}\n"
    if first:
        yield f"### Start here: {_code(first.name)} {_prose(first.code)}\n"
        yield f"{_SIGNS[state(first)]} **{_prose(first.message)}**\n"
        yield from _body(first)
    others = [f for f in report.failed if f is not first]
    for title, chosen in (
        ("Also found" if first else "Found", [f for f in others if not f.known]),
        ("Known", [f for f in others if f.known]),
    ):
        if chosen:
            yield f"### {title}\n"
        for finding in chosen:
            place = f" · {_code(str(finding.location))}" if finding.location else ""
            yield f"<details><summary>{_SIGNS[state(finding)]} <b>{_prose(finding.name)}</b> {_prose(finding.code)}{place} · {_prose(finding.message)}</summary>\n"
            yield from _body(finding)
            yield "</details>\n"
    yield from _comparison(report)
    for title, outcome in (("passed", Outcome.PASS), ("blocked", Outcome.BLOCKED), ("not run", Outcome.NOT_RUN)):
        yield from _folded(title, [f for f in report if f.outcome is outcome])
    tally = ", ".join(counts(report).values())
    cost = seconds(report.cost.seconds)
    made = f"trainlint {report.version} · {tally}{' · ' if tally else ''}{cost}"
    yield f"<sub>{_prose(made)}</sub>"


def _body(finding: Finding) -> Iterator[str]:
    place, fix, proof = finding.location, finding.fix, finding.proof
    if finding.why:
        yield f"{_prose(finding.why)}\n"
    if place:
        inside = f" in {_code(place.function)}" if place.function else ""
        yield f"**Where** {_code(str(place))}{inside}\n"
        if place.text:
            yield fenced(place.text, "python")
    if shown := [f"{label(key)} {_code(number(finding.evidence[key]))}" for key in _MAIN_EVIDENCE if key in finding.evidence]:
        yield f"**Evidence** {' · '.join(shown)}\n"
    if fix:
        doubtful = proof is not None and proof.tried and not proof.helped
        yield f"**{'Idea' if doubtful else 'Fix'}** {_prose(fix.summary)}\n"
        code = fix.diff or fix.code
        if is_example(fix.code, fix.diff):
            yield "For example:\n"
        if code:
            yield fenced(code, "diff" if fix.diff or re.search(r"^[-+]", code, re.MULTILINE) else "python")
    if proof and proof.tried:
        yield f"**Tried on your model** {_SIGNS['pass' if proof.helped else 'note']} {_prose(proof.summary)}\n"
    yield f"<sub>{_code(f'trainlint explain {finding.name}')}{_source(finding.source)}</sub>\n"


def _comparison(report: Report) -> Iterator[str]:
    """The configurations that were compared, where that was asked for."""
    found = next((d for d in report.overview if isinstance(d, Table) and d.columns[:1] == ("configuration",)), None)
    if found:
        yield f"### Before and after\n\n| {' | '.join(map(_prose, found.columns))} |\n|{'---|' * len(found.columns)}"
        for row in found.rows:
            yield f"| {' | '.join('' if cell is None else _prose(number(cell)) for cell in row)} |"
        yield f"\n<sub>{_prose(found.title)}</sub>\n"


def _folded(title: str, findings: list[Finding]) -> Iterator[str]:
    if findings:
        yield f"<details><summary>{count(len(findings), 'check')} {title}</summary>\n"
        yield "| | Rule | What it says |\n|---|---|---|"
        for finding in findings:
            yield f"| {_SIGNS[state(finding)]} | {_code(finding.name)} | {_prose(finding.reason or finding.message)} |"
        yield "\n</details>\n"


def fenced(code: str, language: str) -> str:
    """A block of code, whatever it holds."""
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{visible(code).rstrip(chr(10))}\n{fence}\n"


def _prose(text: str) -> str:
    """A sentence on one line, with `` `names` `` set as code."""
    return "".join(_code(part) if i % 2 else _plain(part) for i, part in enumerate(_CODE.split(_line(text))))


def _code(text: str) -> str:
    return f"<code>{_plain(_line(text))}</code>"


def _plain(text: str) -> str:
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", text)


def _line(text: str) -> str:
    return " ".join(visible(text).split())


def _source(text: str) -> str:
    """Where it is written up, with its addresses to follow."""
    shown, end = "", 0
    for found in _ADDRESS.finditer(text := _line(text)):
        # Without its scheme the address is not made a link once more.
        words = _plain(re.sub(r"^https?://(www\.)?", "", found[0]))
        shown += f'{_plain(text[end : found.start()])}<a href="{escape(found[0])}">{words}</a>'
        end = found.end()
    shown += _plain(text[end:])
    return f" · {shown}" if shown else ""
