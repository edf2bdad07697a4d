from __future__ import annotations

import math

import pytest

from trainlint.probes.step.growth import growth


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ([[1.0] * 20 + [4.0, 50.0, 900.0, math.inf]], 900.0),
        ([[1.0] * 20 + [900.0, 1.0, 1.0, 1.0]], 1.0),
        ([[2.0, 1e5, 1e20]], 5e19),
        ([[1.0, 1.0, None, 1.0], [0.3, 0.3, 0.3, 0.6, math.nan]], 2.0),
        ([[-2.0, -8.0]], 4.0),
        ([[1.0], []], None),
        ([[0.0, 0.0, 0.0, 0.0, 5.0]], None),
    ],
)
def test_the_last_values_are_measured_against_those_before(series: list[list[float | None]], expected: float | None) -> None:
    assert growth(*series) == (pytest.approx(expected) if expected is not None else None)
