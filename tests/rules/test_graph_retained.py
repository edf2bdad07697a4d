from __future__ import annotations

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Retained
from trainlint_rules.graph_retained import GraphRetained

TOTAL, BACKWARD = Location("train.py", 24), Location("train.py", 22)


def judge(**facts: object):
    return GraphRetained().judge(Retained(**{"where": TOTAL, "backward_where": BACKWARD, "kind": "loss", **facts}))


def test_warns_of_a_history_of_losses_and_names_its_variable():
    verdict = judge(alive=9, made=10, variable="total")
    assert (verdict.severity, verdict.location) == (Severity.WARNING, TOTAL)
    assert "9 of 10 earlier losses are alive at once, held by total" in verdict.message
    assert verdict.fix.code == "total += loss.item()"
    assert judge(alive=9, made=10, variable="seen", listed=True, kind="outputs").fix.code == "seen.append(outputs.detach())"


def test_warns_of_a_graph_that_grows():
    verdict = judge(nodes=(10, 20, 30, 40, 50), alive=4, made=5)
    assert (verdict.severity, verdict.location) == (Severity.WARNING, BACKWARD)
    assert "10 nodes at its first step and through 50" in verdict.message


@pytest.mark.parametrize(
    "facts",
    [
        {"alive": 1, "made": 10},
        {"alive": 4, "made": 40},  # the last few only
        {"nodes": (10, 30, 20, 50, 40, 60)},  # texts of different lengths
        {"nodes": (10, 11, 12, 13, 14)},
        {"nodes": (10, 40)},
        {},
    ],
)
def test_passes_loops_that_let_go(facts: dict[str, object]):
    assert judge(**facts).kind == "pass"


def test_a_state_that_no_line_adds_to_is_to_be_detached():
    assert "detach()" in judge(alive=9, made=10, variable="hidden", kind="outputs", added=False).fix.code
