"""Attributes that a script gives objects from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainlint.probes.source import given
from trainlint.record.frames import Frames

ONCE = """
class Rows:
    def __init__(self, transform):
        self.transform = transform

train_set, val_set = split(Rows(augment))
val_set.transform = plain
"""


@pytest.mark.parametrize(("text", "line"), [(ONCE, 7), (ONCE + "test_set.transform = plain\n", None), ("", None)])
def test_the_one_line_that_sets_it_is_found(text: str, line: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "train.py"
    script.write_text(text)
    monkeypatch.setattr(given, "own_files", lambda frames, modules: [str(script)])
    found = given.attribute_given_at(Frames(), "transform")
    assert (found and found[1]) == line
