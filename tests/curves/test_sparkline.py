"""Curves in one line of a terminal."""

from __future__ import annotations

from trainlint.curves.sparkline import sparklines
from trainlint.details import Line, Series


def drawn(*curves: tuple[float, ...]) -> list[str]:
    lines = tuple(Line(name=f"{i}", x=tuple(map(float, range(len(c)))), y=c) for i, c in enumerate(curves))
    return [text for _, text, _, _ in sparklines(Series(title="", x_label="", y_label="", lines=lines, log_y=True), len(curves[0]))]


def test_a_curve_that_turns_is_seen_beside_one_that_falls_by_far() -> None:
    _, validation = drawn((0.7, 0.1, 0.01, 1e-3, 1e-4), (0.9, 0.55, 0.7, 0.8, 0.98))
    assert validation[1] == min(validation)
    assert validation[-1] > validation[1]


def test_few_values_take_as_many_characters_each() -> None:
    line = Line(name="loss", x=(1.0, 2.0, 3.0, 4.0, 5.0), y=(5.0, 4.0, 3.0, 2.0, 1.0))
    ((_, text, first, last),) = sparklines(Series(title="", x_label="epoch", y_label="loss", lines=(line,)), 60)
    assert [text.count(block) for block in dict.fromkeys(text)] == [12] * 5
    assert (first, last) == (5.0, 1.0)


def test_two_wide_curves_share_a_log_scale() -> None:
    one, other = drawn((1.0, 0.1, 0.01, 1e-3), (1.0, 0.3, 0.1, 0.03))
    assert len(set(one)) == 4
    assert one[1:] < other[1:]
