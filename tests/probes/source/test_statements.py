"""Statements that are found by reading the source of the user's functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainlint.probes.source.statements import condition_around, given_out_at, step_returns_at


def alone(rows):
    yield from rows  # alone


def endless(rows):
    while True:
        for row in rows:  # endless
            if row:
                yield row


def handed_on(rows):
    def keep(row):
        yield row

    rows = map(keep, rows)
    return iter(rows)  # handed_on


@pytest.mark.parametrize("function", [alone, endless, handed_on])
def test_where_samples_are_given_out(function) -> None:
    filename, line, name = given_out_at(function.__code__)
    assert (filename, name) == (__file__, function.__name__)
    assert Path(__file__).read_text().splitlines()[line - 1].endswith(f"# {name}")


BRANCH = """
class Net(Module):
    def training_step(self, batch, index):
        loss = self.loss(batch)
        if index % 10 == 0:
            return loss
"""
SKIPS = """
class Net(Module):
    def training_step(self, batch, index):
        if self.skip:
            return None
        return self.loss(batch)
"""
FORGETS = """
class Net(Module):
    def training_step(self, batch, index):
        def double(x):
            return 2 * x
        self.log("loss", double(self.loss(batch)))
"""


@pytest.mark.parametrize(("text", "line"), [(BRANCH, 6), (SKIPS, 5), (FORGETS, 3)])
def test_where_a_step_returns(tmp_path: Path, text: str, line: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(text)
    assert step_returns_at([str(script), str(script)], "training_step") == (str(script), line, "training_step")


def test_no_step_is_named_where_there_are_several(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(BRANCH + SKIPS)
    assert step_returns_at([str(script)], "training_step") is None
    assert step_returns_at([str(tmp_path / "none.py")], "training_step") is None


GUARDED = """
if rank == 0:
    for step, batch in enumerate(loader):
        train(batch)
        if step % 4 == 0:
            clip()
            optimizer.step()
        report()
"""


@pytest.mark.parametrize(("line", "condition"), [(7, 5), (8, None), (2, None)])
def test_the_condition_around_a_line_of_a_loop(tmp_path, line, condition) -> None:
    """What stands around the whole loop holds at each turn, so it is none."""
    script = tmp_path / "guarded.py"
    script.write_text(GUARDED)
    found = condition_around((str(script), line, "<module>"))
    assert (found and found[1]) == condition
