"""Numbers as people write them, the same in every sentence, table and picture."""

from __future__ import annotations

import re

__all__ = ["number", "plain"]

#: From here on a number is written with an exponent, as it is below a ten-thousandth.
_LARGE = 1e6
#: A number as Python's formats write it with an exponent: 3.65e+04, 1e-05.
_PADDED = re.compile(r"(?<![\w.])-?\d(?:\.\d+)?e[+-]\d{2,}(?!\w)")


def number(value: float, digits: int = 4) -> str:
    """A finite number with so many significant digits: ``0.0123``, ``36,460``, ``1e-5``, ``3.2e7``; four figures have no comma."""
    text = f"{value:.{digits}g}"
    if "e" not in text and abs(value) < 10_000:
        return text
    if 1 <= abs(value) < _LARGE:
        whole = round(float(text))
        return str(whole) if abs(whole) < 10_000 else f"{whole:,}"
    return re.sub(r"e([+-])0*(\d)", lambda m: f"e{m[1].strip('+')}{m[2]}", text)


def plain(sentence: str) -> str:
    """``sentence`` with Python's padded exponents written out or shortened: 36,500 for 3.65e+04, 1e-5 for 1e-05."""
    return _PADDED.sub(lambda found: number(float(found[0]), max(len(re.sub(r"e.*|\D", "", found[0])), 1)), sentence)
