from __future__ import annotations

import re
from dataclasses import replace

import samples
from hypothesis import given, settings
from hypothesis import strategies as st

from trainlint.finding import Outcome
from trainlint.location import Location
from trainlint_reports.github import GithubRenderer
from trainlint_reports.phrases import visible


def read(line: str) -> tuple[str, dict[str, str], str]:
    """A command as GitHub's runner reads it."""
    found = re.fullmatch(r"::(\w+) (.*?)::(.*)", line)
    assert found, line

    def plain(text: str) -> str:
        for code, mark in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            text = text.replace(code, mark)
        return text

    properties = dict(pair.split("=", 1) for pair in found[2].split(","))
    return found[1], {key: plain(value) for key, value in properties.items()}, plain(found[3])


def test_each_failure_is_a_command_at_its_line_and_the_last_sums_up() -> None:
    lines = GithubRenderer().render(samples.eight_findings()).splitlines()
    commands = [read(line) for line in lines]
    assert [kind for kind, _, _ in commands] == ["error"] * 3 + ["warning"] * 4 + ["notice"] * 2
    assert commands[0][1] == {"file": "train.py", "line": "31", "title": "TL103 output-activation"}
    assert commands[0][2].splitlines()[-1] == "+        return self.head(x)"
    assert commands[-1][1] == {"title": "3 errors found"}
    assert "Validation was cut" in commands[-1][2]


def test_a_crash_is_an_error() -> None:
    kind, properties, message = read(GithubRenderer().render(samples.crashed()).splitlines()[-1])
    assert (kind, properties["title"]) == ("error", "The script raised an error")
    assert "mat1 and mat2" in message


names = st.text(st.sampled_from("ab:,%=\n\r:;A025|"), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(names, names)
def test_no_name_can_break_out_of_its_command(file: str, message: str) -> None:
    failure = samples.finding("TL210", "shuffle", Outcome.FAIL, message=message, location=Location(file, 3))
    first, *_ = GithubRenderer().render(replace(samples.empty(), findings=(failure,))).splitlines()
    kind, properties, said = read(first)
    assert (kind, properties["line"], said) == ("error", "3", visible(message))
    assert properties["file"] == visible(file)


def test_a_place_in_a_notebook_is_named_in_the_title() -> None:
    failure = samples.finding("TL210", "shuffle", Outcome.FAIL, message="m", location=Location("a.ipynb", 5, cell=3))
    shown = GithubRenderer().render(replace(samples.empty(), findings=(failure,)))
    assert "file=a.ipynb,title=TL210 shuffle (cell 3%2C line 5)" in shown
