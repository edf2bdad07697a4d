from __future__ import annotations

import math

from trainlint.measurements import LearningRate, Trial
from trainlint.rate_chart import rate_chart


def trial(lr: float, score: float, **fields: object) -> Trial:
    return Trial(lr=lr, losses=(1.0, score), score=score, **fields)  # type: ignore[arg-type]


RATES = LearningRate(
    optimizer="Adam", configured=0.01, initial=1.0, low=0.004, high=0.2, limit=0.7, suggestion=0.03, steps=24,
    trials=(trial(0.001, 0.95), trial(0.01, 0.5), trial(0.1, 0.4), trial(0.3, 5.0), trial(1.0, math.inf, diverged=True)),
)  # fmt: skip


def test_the_line_crosses_the_limit_where_the_band_begins_and_stops() -> None:
    (line,) = rate_chart(RATES).lines
    drawn = dict(zip(line.x, line.y, strict=True))
    assert (drawn[0.004], drawn[0.2]) == (0.7, 0.7)
    assert all((y < 0.7) == (0.004 < x < 0.2) for x, y in drawn.items() if math.isfinite(y) and x not in (0.004, 0.2))
    assert [line.x[i] for i in line.between] == [0.004, 0.2]


def test_a_run_that_got_low_by_leaps_is_no_part_of_the_line() -> None:
    leapt = LearningRate(initial=1.0, low=0.004, high=0.01, limit=0.7, trials=(trial(0.01, 0.5), trial(0.1, 0.4, peak=9.0)))
    line, apart = rate_chart(leapt).lines
    assert math.isnan(dict(zip(line.x, line.y, strict=True))[0.1])
    assert apart.x == (0.1,)


def test_old_measurements_without_a_limit_are_drawn_too() -> None:
    (line,) = rate_chart(LearningRate(initial=1.0, low=0.004, high=0.2, trials=(trial(0.01, 0.5),))).lines
    assert line.x == (0.01,)
