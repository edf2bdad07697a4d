"""Reshapes where a transpose was meant, by measurements written by hand."""

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import AxisOrder as Reshapes
from trainlint.measurements import Reshape
from trainlint_rules.axis_order import AxisOrder

HEADS = Reshape(
    operation="view", before=(8, 16, 128), after=(8, 4, 16, 32), opened=(8, 16, 4, 32), order=(0, 2, 1, 3), reader="matmul",
    where=Location("model.py", 18),
)  # fmt: skip
JOINED = Reshape(
    operation="reshape", before=(8, 4, 16, 32), after=(8, 16, 128), opened=(8, 4, 16, 32), order=(0, 2, 1, 3), reader="linear",
    where=Location("model.py", 25),
)  # fmt: skip
PICTURES = Reshape(
    operation="reshape", before=(8, 32, 32, 3), after=(8, 3, 32, 32), opened=(8, 32, 32, 3), order=(0, 3, 1, 2), reader="conv2d"
)
FOLDED = Reshape(operation="view", before=(8, 16, 128), after=(32, 16, 32), opened=(8, 16, 4, 32), order=(0, 2, 1, 3), reader="bmm")


def judge(*slips: Reshape):
    return AxisOrder().judge(Reshapes(reshapes=9, slips=slips))


def test_reshapes_in_order_pass():
    assert judge().kind == "pass"


@pytest.mark.parametrize(
    ("slip", "code"),
    [
        (HEADS, "x = x.reshape(x.size(0), 16, 4, 32).transpose(1, 2)  # (8, 16, 128) -> (8, 4, 16, 32)"),
        (JOINED, "x = x.transpose(1, 2).reshape(x.size(0), 16, 128)  # (8, 4, 16, 32) -> (8, 16, 128)"),
        (PICTURES, "x = x.permute(0, 3, 1, 2)  # (8, 32, 32, 3) -> (8, 3, 32, 32)"),
        (FOLDED, "x = x.reshape(x.size(0), 16, 4, 32).transpose(1, 2).reshape(-1, 16, 32)  # (8, 16, 128) -> (32, 16, 32)"),
    ],
)
def test_a_reshape_in_place_of_a_transpose_is_an_error_with_its_fix(slip, code):
    verdict = judge(slip)
    assert (verdict.kind, verdict.severity) == ("fail", Severity.ERROR)
    assert verdict.fix.code == code
    assert slip.reader in verdict.message


def test_all_lines_are_named_and_those_of_one_file_edited():
    verdict = judge(HEADS, JOINED, Reshape(where=Location("other.py", 3), before=(2, 3, 4), after=(2, 4, 3)))
    assert verdict.location == HEADS.where
    assert "2 more: model.py:25, other.py:3" in verdict.message
    assert [p["line"] for p in verdict.fix.edit.values["places"]] == [18, 25]
