"""Where an optimizer's groups are picked is read off the list that writes them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainlint.probes.source.groups import group_picked_at

TWO = "head = [p for p in ps if p]\nbody = [p for p in ps]\ngroups = [{'params': body}, {'params': head, 'lr': 1}]\n"


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (TWO, 1),
        ("groups = [\n    {'params': body},\n    {'params': [p for p in ps if p]},\n]", 3),
        ("def build(head, body):\n    return [{'params': body},\n    {'params': head}]", 3),
        (TWO + "other = [{'params': head}, {'params': body}]", None),
        ("groups = [{'params': body}]", None),
        ("groups = (", None),
    ],
)
def test_the_line_that_picks_a_group(code: str, line: int | None, tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text(code)
    found = group_picked_at(str(script), 1, 2)
    assert (found and found[1]) == line
