from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
import samples

from trainlint.finding import Outcome
from trainlint.renderers import load_renderers
from trainlint.report import Report
from trainlint_reports import RENDERERS

REPORTS = [samples.eight_findings(), samples.all_passed(), samples.crashed(), samples.hostile(), samples.empty()]


def test_formats_are_found_through_the_entry_point() -> None:
    found = load_renderers()
    assert {kind.name: kind for kind in RENDERERS}.items() <= {name: type(renderer) for name, renderer in found.items()}.items()
    assert {renderer.name: renderer.suffix for renderer in found.values()}.items() >= {
        "text": ".txt",
        "json": ".json",
        "html": ".html",
        "sarif": ".sarif",
        "junit": ".xml",
        "github": ".txt",
        "markdown": ".md",
    }.items()


@pytest.mark.parametrize("kind", RENDERERS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.subject.name[:12])
def test_every_format_renders_every_report_as_text_that_can_be_written(kind: type, report: Report) -> None:
    text = kind().render(report, color=False, width=80, verbosity=0)
    assert text.endswith("\n")
    text.encode("utf-8")


def test_importing_the_formats_is_cheap() -> None:
    heavy = "import sys, trainlint_reports; print(*{'torch', 'matplotlib', 'numpy', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout == "\n"


def known(report: Report, *codes: str) -> Report:
    """The report with some failures that a baseline knows."""
    return replace(report, findings=tuple(replace(f, known=f.code in codes) for f in report))


Told = set[tuple[str, str, bool]]
"""What a format says of the failures: code, place and whether it is known."""


def told_by_json(text: str) -> Told:
    failures = [f for f in json.loads(text)["findings"] if f["verdict"] == "fail"]
    return {(f["code"], f"{f['location']['file']}:{f['location']['line']}", f["known"]) for f in failures}


def told_by_sarif(text: str) -> Told:
    places = [(r, r["locations"][0]["physicalLocation"]) for r in json.loads(text)["runs"][0]["results"]]
    return {
        (r["ruleId"], f"{p['artifactLocation']['uri']}:{p['region']['startLine']}", r.get("baselineState") == "unchanged")
        for r, p in places
    }


def told_by_junit(text: str) -> Told:
    cases = [c for c in ET.fromstring(text).iter("testcase") if c.get("line")]
    return {(c.attrib["name"][:5], f"{c.get('file')}:{c.get('line')}", (c.findtext("system-out") or "").startswith("known")) for c in cases}


def told_by_github(text: str) -> Told:
    found = re.findall(r"^::\w+ file=(.+?),line=(\d+),title=(TL\d+) [\w-]+( \(known\))?::", text, re.M)
    return {(code, f"{file}:{line}", bool(mark)) for file, line, code, mark in found}


def told_by_markdown(text: str) -> Told:
    first = re.findall(r"^### Start here: <code>[\w-]+</code> (TL\d+)$.*?^\*\*Where\*\* <code>(.+?)</code>", text, re.M | re.S)
    rest = re.findall(r"<summary>(.+?) <b>[\w-]+</b> (TL\d+) · <code>(.+?)</code>", text)
    return {(code, place, False) for code, place in first} | {(code, place, sign == "📌") for sign, code, place in rest}


def told_by_text(text: str) -> Told:
    new = re.findall(r"^(\S+:\d+): \w+ (TL\d+) [\w-]+$", text, re.M)
    old = re.findall(r"^= (TL\d+) [\w-]+\s+(\S+:\d+): ", text, re.M)
    return {(code, place, False) for place, code in new} | {(code, place, True) for code, place in old}


@pytest.mark.parametrize("tell", [told_by_json, told_by_sarif, told_by_junit, told_by_github, told_by_markdown, told_by_text])
def test_every_format_tells_of_the_same_failures(tell) -> None:
    report = replace(known(samples.eight_findings(), "TL210", "TL307"), fail_on="note")
    text = load_renderers()[tell.__name__.removeprefix("told_by_")].render(report)
    assert tell(text) == {(f.code, str(f.location), f.known) for f in report.failed}


def test_what_is_known_is_counted_apart() -> None:
    plain = replace(samples.eight_findings(), overview=(), findings=tuple(replace(f, details=()) for f in samples.eight_findings()))
    report = known(plain, "TL103", "TL210", "TL305")
    assert [f.severity.value for f in report.failed[-3:]] == ["error", "error", "error"]
    for name in ("text", "html", "markdown"):
        text = load_renderers()[name].render(replace(report, start_here=None))
        assert "No new errors, 4 warnings" in text, name
        assert "3 failures known from the baseline" in text or name == "text"
    everything = known(plain, *(f.code for f in samples.failures()))
    assert "Nothing new found" in load_renderers()["text"].render(replace(everything, start_here=None))


@pytest.mark.parametrize("name", ["text", "html", "markdown", "github", "junit"])
def test_a_run_of_which_too_little_was_seen_is_not_called_clean(name: str) -> None:
    report = samples.all_passed()
    report = replace(report, subject=replace(report.subject, too_little=True))
    page = load_renderers()[name].render(report)
    assert "Too little was seen to call it clean" in page
    assert "No fault found" not in page


def test_a_budget_in_which_no_step_was_seen_promises_nothing_of_a_larger_one() -> None:
    report = samples.all_passed()
    short = replace(report, subject=replace(report.subject, too_little=True))
    untrained = replace(report, subject=replace(report.subject, too_little=True, trained=False))
    words = [" ".join(one.to_text().split()) for one in (short, untrained)]
    assert ["A larger `budget` shows more." in text for text in words] == [True, False]
    assert ["worked out without loss.backward()" in text for text in words] == [False, True]


def test_a_report_without_any_verdict_claims_nothing() -> None:
    report = samples.crashed()
    report = replace(report, findings=tuple(replace(f, outcome=Outcome.NOT_RUN) for f in report))
    assert "No training was seen, so nothing was judged." in " ".join(report.to_text().split())


@pytest.mark.parametrize("name", ["text", "html", "markdown"])
def test_what_a_comment_takes_back_is_counted(name: str) -> None:
    report = samples.all_passed()
    first, *others = report.findings
    report = replace(report, findings=(replace(first, outcome=Outcome.NOT_RUN, ignored=True, reason="suppressed"), *others))
    assert "1 ignored" in load_renderers()[name].render(report)
