from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import samples

from trainlint.report import Report
from trainlint_reports.junit import JunitRenderer

junitparser = pytest.importorskip("junitparser")


def suite(report: Report) -> Any:
    (found,) = junitparser.JUnitXml.fromstring(JunitRenderer().render(report).encode())
    return found


@pytest.mark.parametrize("make", [samples.eight_findings, samples.all_passed, samples.crashed, samples.hostile, samples.empty])
def test_a_reader_finds_a_case_for_each_rule_and_counts_that_add_up(make: Any) -> None:
    report = make()
    found = suite(report)
    cases = list(found)
    assert [c.name for c in cases if c.name != "run"] == [f"{f.code} {f.name}" for f in report]
    kinds = [type(r).__name__ for c in cases for r in c.result]
    assert (found.tests, found.failures, found.errors, found.skipped) == (
        len(cases), kinds.count("Failure"), kinds.count("Error"), kinds.count("Skipped"),
    )  # fmt: skip


@pytest.mark.parametrize(("fail_on", "failures"), [("error", 3), ("warning", 7), ("note", 8), ("never", 0)])
def test_what_fails_is_what_makes_the_exit_code_one(fail_on: str, failures: int) -> None:
    found = suite(replace(samples.eight_findings(), fail_on=fail_on))
    assert found.failures == failures
    told = [c for c in found if c.result or "Fix: " in (c.system_out or "")]
    assert len(told) == 8 + 4


def test_a_failure_says_where_and_how_to_mend_it() -> None:
    case = next(c for c in suite(samples.eight_findings()) if c.name == "TL210 shuffle")
    (failure,) = case.result
    assert (failure.type, case.classname) == ("error", "train.py.Data")
    assert failure.message.startswith("Training samples come sorted by label")
    for words in ("train.py:22: train_loader", "expected: 3001", "shuffle=True", "trainlint explain shuffle"):
        assert words in failure.text


def test_a_run_that_ended_early_is_an_error_of_its_own() -> None:
    case = next(iter(suite(samples.crashed())))
    (error,) = case.result
    assert (case.name, error.type) == ("run", "crashed")
    assert "mat1 and mat2" in error.text


def test_time_is_that_of_the_scan_and_none_is_made_up_for_its_rules() -> None:
    found = suite(samples.eight_findings())
    assert found.time == pytest.approx(21.4)
    assert "time" not in next(iter(found))._elem.attrib
