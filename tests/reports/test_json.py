from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import samples
from hypothesis import given, settings
from hypothesis import strategies as st

from trainlint.details import Bars, Code, Detail, ImageGrid, Line, Mark, Picture, Series, Table, Timeline, TimelineEvent
from trainlint.errors import UsageError
from trainlint.finding import Edit, Finding, Fix, Outcome, Proof, Severity, Stage
from trainlint.location import Location
from trainlint.report import Cost, Report, Subject
from trainlint.serialise import from_json, to_json
from trainlint.settings import FAIL_ON
from trainlint_reports.json_report import JsonRenderer

#: Where a number may stand these three words mean the number, so they are no text there.
WORDS = {"nan", "inf", "-inf"}


def tuples(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=3).map(tuple)


text = st.text(max_size=8)
cell = text.filter(lambda t: t not in WORDS)
number = st.floats()
integer = st.integers(-(2**53), 2**53)
mark = st.builds(Mark, label=text, x=st.none() | number, x2=st.none() | number, y=st.none() | number)
line = st.builds(Line, name=text, x=tuples(number), y=tuples(number))
detail: st.SearchStrategy[Detail] = st.one_of(
    st.builds(
        Series, title=text, x_label=text, y_label=text, lines=tuples(line), log_x=st.booleans(), log_y=st.booleans(), marks=tuples(mark)
    ),
    st.builds(
        Bars,
        title=text,
        value_label=text,
        labels=tuples(text),
        values=tuples(number),
        log=st.booleans(),
        marks=tuples(mark),
        highlight=tuples(integer),
    ),
    st.builds(Table, title=text, columns=tuples(text), rows=tuples(tuples(cell | number | integer | st.none()))),
    st.builds(ImageGrid, title=text, pictures=tuples(st.builds(Picture, png=text, caption=text, flagged=st.booleans())), note=text),
    st.builds(Code, title=text, text=text, first_line=integer, highlight=st.none() | integer),
    st.builds(
        Timeline,
        title=text,
        events=tuples(st.builds(TimelineEvent, kind=text, label=text, file=text, line=integer, flagged=st.booleans())),
    ),
)
json_value = st.recursive(
    st.none() | st.booleans() | integer | number | cell,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=4,
)
location = st.builds(Location, text, integer, text, text)
finding = st.builds(
    Finding,
    code=text,
    name=text,
    stage=st.sampled_from(Stage),
    outcome=st.sampled_from(Outcome),
    severity=st.sampled_from(Severity),
    message=text,
    evidence=st.dictionaries(text, json_value, max_size=3),
    location=st.none() | location,
    why=text,
    source=text,
    fix=st.none()
    | st.builds(
        Fix,
        summary=text,
        code=text,
        edit=st.none() | st.builds(Edit, kind=text, at=st.none() | location, values=st.dictionaries(text, text | integer, max_size=2)),
    ),
    proof=st.none() | st.builds(Proof, helped=st.booleans(), summary=text, before=st.none() | number, after=st.none() | number),
    blocked_by=st.none() | text,
    reason=text,
    known=st.booleans(),
    details=tuples(detail),
)


@st.composite
def reports(draw: st.DrawFn) -> Report:
    findings = tuple(draw(st.lists(finding, max_size=3, unique_by=lambda f: f.code)))
    texts = st.dictionaries(text, text, max_size=2)
    return Report(
        subject=draw(st.builds(Subject, kind=text, name=text, command=text, status=text, notes=tuples(text), environment=texts)),
        findings=findings,
        start_here=draw(st.sampled_from([None, *findings])),
        cost=draw(
            st.builds(
                Cost,
                seconds=number,
                step_seconds=st.none() | number,
                step_equivalents=st.none() | number,
                probes=st.dictionaries(text, number, max_size=2),
            )
        ),
        overview=draw(tuples(detail)),
        version=draw(text),
        fail_on=draw(st.sampled_from(FAIL_ON)),
    )


@settings(max_examples=150, deadline=None)
@given(reports())
def test_every_report_survives_the_round_trip(report: Report) -> None:
    # repr() tells 1 from 1.0 and lists from tuples, and unlike == it takes one NaN for another.
    assert repr(from_json(to_json(report))) == repr(report)


@pytest.mark.parametrize("make", [samples.eight_findings, samples.all_passed, samples.crashed, samples.hostile, samples.empty])
def test_samples_survive_the_round_trip(make: Any) -> None:
    report = make()
    again = from_json(JsonRenderer().render(report))
    assert again == report
    assert again.start_here is next((f for f in again.findings if report.start_here and f.code == report.start_here.code), None)


def test_schema() -> None:
    data = json.loads(to_json(samples.eight_findings()))
    assert list(data) == ["schema", "tool", "subject", "start_here", "findings", "cost", "overview", "fail_on"]
    assert data["schema"] == 1
    assert data["tool"] == {"name": "trainlint", "version": "0.1.0"}
    assert data["start_here"]["name"] == "output-activation"
    first = next(f for f in data["findings"] if f["code"] == "TL103")
    assert list(first) == [
        "code",
        "name",
        "stage",
        "verdict",
        "severity",
        "message",
        "evidence",
        "location",
        "fix",
        "proof",
        "blocked_by",
        "reason",
        "known",
        "ignored",
        "why",
        "source",
        "details",
    ]
    assert (first["stage"], first["verdict"], first["severity"]) == (1, "fail", "error")
    assert first["location"] == {
        "file": "train.py",
        "line": 31,
        "function": "forward",
        "text": "return F.softmax(self.head(x), dim=1)",
        "cell": None,
    }
    assert [d["type"] for d in data["overview"]] == ["images", "timeline", "series", "series", "table"]
    assert {f["verdict"] for f in data["findings"]} == {"pass", "fail", "blocked", "not-run"}


def test_numbers_that_json_does_not_know_are_words() -> None:
    bad = {"measured": math.nan, "list": [math.inf, {"deep": -math.inf}]}
    report = replace(samples.empty(), findings=(samples.finding("TL101", "init-loss", evidence=bad),))
    written = to_json(report)
    data = json.loads(written, parse_constant=lambda word: pytest.fail(f"{word} is not strict JSON"))
    assert data["findings"][0]["evidence"] == {"measured": "nan", "list": ["inf", {"deep": "-inf"}]}
    evidence = from_json(written).findings[0].evidence
    assert math.isnan(evidence["measured"])  # type: ignore[arg-type]
    assert evidence["list"] == [math.inf, {"deep": -math.inf}]


def test_foreign_numbers_in_evidence_become_plain_ones() -> None:
    evidence: dict[str, Any] = {"scalar": np.float32(1.5), "many": np.arange(3), "other": {1: Stage.DATA, "path": object}}
    report = replace(samples.empty(), findings=(samples.finding("TL101", "init-loss", evidence=evidence),))
    again = from_json(to_json(report)).findings[0].evidence
    assert again == {"scalar": 1.5, "many": [0, 1, 2], "other": {"1": 2, "path": "<class 'object'>"}}


def test_file_names_that_are_not_utf8_can_be_written() -> None:
    report = replace(samples.empty(), subject=Subject(kind="script", name="caf\udce9.py"))
    written = to_json(report).encode("utf-8")
    assert from_json(written) == report


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("", "not a trainlint report"),
        ("[]", "schema 1"),
        ('{"schema": 2}', "its 'schema' is 2"),
        ('{"schema": 1}', "missing required field"),
        (to_json(samples.empty()).replace('"fail_on": "error"', '"fail_on": "always"'), "'fail_on' is 'always'"),
    ],
)
def test_what_is_no_report_is_refused_with_a_reason(broken: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        from_json(broken)


@pytest.mark.parametrize("overview", [[{"type": "hologram"}], [{"type": "table"}], [{"type": "table", "rows": 3}]])
def test_a_broken_detail_is_refused_with_a_reason(overview: list[Any]) -> None:
    data = json.loads(to_json(samples.empty())) | {"overview": overview}
    with pytest.raises(UsageError, match="not a trainlint report"):
        from_json(json.dumps(data))


def test_the_documented_example_is_a_report() -> None:
    document = (Path(__file__).parents[2] / "docs" / "json-schema.md").read_text(encoding="utf-8")
    example = re.search(r"```json\n(.*?)```", document, re.S)
    assert example is not None
    report = from_json(example[1])
    assert report.start_here is report["output-activation"]
    assert json.loads(to_json(report)) == json.loads(example[1])


def test_every_key_is_documented() -> None:
    document = (Path(__file__).parents[2] / "docs" / "json-schema.md").read_text(encoding="utf-8")

    def keys(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(keys, value))
        free = {"evidence", "environment", "probes"}
        return (
            {k for key, inner in value.items() for k in {key} | (set() if key in free else keys(inner))}
            if isinstance(value, dict)
            else set()
        )

    assert {
        key for key in keys(json.loads(to_json(samples.eight_findings()))) if f"`{key}`" not in document and f'"{key}"' not in document
    } == set()
