from __future__ import annotations

import pytest

from trainlint.curves.scaling import fit_scaling


def law(*sizes: float, **off: float) -> list[tuple[str, float, float]]:
    return [(f"n{size:g}", size, 5 * size**-0.1 * off.get(f"n{size:g}", 1.0)) for size in sizes]


def test_the_power_law_is_found_and_extrapolated() -> None:
    found = fit_scaling(law(10, 100, 1000, 10_000))
    assert found.exponent == pytest.approx(0.1)
    assert found.at(1e6) == pytest.approx(5 * 1e6**-0.1)
    assert {run.verdict for run in found.runs} == {"on the line"}


@pytest.mark.parametrize(("factor", "verdict"), [(0.4, "far below"), (2.5, "far above")])
def test_a_run_off_the_line_of_the_others_is_flagged(factor: float, verdict: str) -> None:
    found = fit_scaling(law(10, 100, 1000, 10_000, 100_000, n1000=factor))
    assert {run.name: run.verdict for run in found.runs if run.verdict != "on the line"} == {"n1000": verdict}


def test_of_three_runs_the_largest_is_compared_with_the_smaller_two() -> None:
    found = fit_scaling(law(10, 100, 1000, n1000=0.3))
    assert [run.verdict for run in found.runs] == ["on the line", "on the line", "far below"]


@pytest.mark.parametrize("points", [law(10, 100), [("a", 1, 1), ("b", 1, 2), ("c", 1, 3)], [("a", 1, -1), ("b", 2, 1), ("c", 3, 1)]])
def test_fewer_than_three_sizes_have_no_line(points: list) -> None:
    assert fit_scaling(points) is None
