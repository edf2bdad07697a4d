from __future__ import annotations

import pytest

from trainlint.wording import number, plain


@pytest.mark.parametrize(
    ("value", "shown"),
    [(36_460.0, "36,460"), (192_000.4, "192,000"), (4450.0, "4450"), (12_340_000.0, "1.234e7"), (1e-05, "1e-5"), (0.00012, "0.00012"), (-36_460.0, "-36,460")],
)  # fmt: skip
def test_a_number_is_written_out_up_to_a_million(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_sentence_has_its_numbers_in_the_same_format() -> None:
    assert plain("goes from 3.65e+04 to 4.45e+03 at 1e-05; 2e+13, -2.1e-07") == "goes from 36,500 to 4450 at 1e-5; 2e13, -2.1e-7"
    assert plain("x_1e-05 and 1.5e-3 and 0.5") == "x_1e-05 and 1.5e-3 and 0.5"
