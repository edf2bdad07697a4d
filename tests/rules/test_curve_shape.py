from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from trainlint.curves.classify import classify
from trainlint.curves.shapes import SHAPES
from trainlint.finding import Severity
from trainlint.measurements import CurveRun, Curves
from trainlint_rules.curve_shape import CurveShape

HERE = Path(__file__).parent


def judge(*runs: CurveRun):
    return CurveShape().judge(Curves(file="log.csv", format="csv", runs=runs))


def run(shape: str, name: str = "", **evidence: float) -> CurveRun:
    return CurveRun(name=name, shape=shape, summary="What was seen.", evidence=evidence, first_action=SHAPES[shape].first_action)


@pytest.mark.parametrize(
    ("shape", "severity"),
    [
        ("diverged", Severity.ERROR),
        ("broken", Severity.ERROR),
        ("overfit", Severity.WARNING),
        ("plateau", Severity.WARNING),
        ("still-improving", Severity.NOTE),
    ],
)
def test_a_shape_has_its_severity_and_its_first_action(shape: str, severity: Severity) -> None:
    verdict = judge(run(shape))
    assert verdict.kind == "fail"
    assert verdict.severity is severity
    assert verdict.fix.summary == SHAPES[shape].first_action


def test_every_shape_is_judged() -> None:
    kinds = {shape: judge(run(shape)).kind for shape in SHAPES}
    assert {shape for shape, kind in kinds.items() if kind == "pass"} == {"healthy"}
    assert {shape for shape, kind in kinds.items() if kind == "not-run"} == {"too-short", "not-a-curve"}


def test_one_spike_that_is_recovered_from_is_a_note_and_more_are_a_warning() -> None:
    assert judge(run("spikes", count=1, recovered=1)).severity is Severity.NOTE
    assert judge(run("spikes", count=1, recovered=0)).severity is Severity.WARNING
    assert judge(run("spikes", count=3, recovered=3)).severity is Severity.WARNING


def test_what_few_values_say_is_one_degree_less() -> None:
    assert judge(run("diverged", few_points=True)).severity is Severity.WARNING
    assert judge(run("overfit", few_points=True)).severity is Severity.NOTE
    assert judge(run("healthy", few_points=True)).kind == "pass"


def test_of_several_runs_the_worst_is_named_and_unknown_ones_do_not_count() -> None:
    verdict = judge(run("healthy", "a"), run("overfit", "b"), run("diverged", "c"), run("too-short", "d"))
    assert verdict.severity is Severity.ERROR
    assert "Diverged (c)" in verdict.message
    assert "1 more run shows a fault" in verdict.message
    assert judge().kind == "not-run"


@pytest.mark.parametrize(("script", "shape", "kind"), [("bad.py", "overfit", "fail"), ("good.py", "healthy", "pass")])
def test_the_logs_of_the_example_scripts(script: str, shape: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(HERE / "curve-shape" / script))
    curves = classify("metrics.csv")
    assert [r.shape for r in curves.runs] == [shape]
    assert CurveShape().judge(curves).kind == kind
