"""Attention without positions, by measurements written by hand."""

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import CutStream
from trainlint.measurements import TokenOrder as Order
from trainlint_rules.token_order import TokenOrder

LINE = Location("model.py", 12)


def judge(**facts):
    return TokenOrder().judge(Order(**{"attends": True, "tokens": 10, "samples": 8, "effect": 0.5, "where": LINE} | facts))


def test_what_no_order_changes_is_a_warning():
    verdict = judge(change=1e-7)
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, LINE)
    assert "8 inner tokens of each of 8 rows" in verdict.message


def test_positions_that_are_counted_along_the_batch_are_an_error_where_they_are_added():
    added = Location("layers.py", 5)
    verdict = judge(change=1e-7, by_sample=added)
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.ERROR, added)
    assert "x.size(1)" in verdict.fix.code


@pytest.mark.parametrize("facts", [{"change": 0.01}, {"change": 1e-4}, {"attends": False}])
def test_an_order_that_counts_or_no_attention_passes(facts):
    assert judge(**facts).kind == "pass"


def test_predictions_that_no_token_changes_are_not_judged():
    assert judge(effect=0.0).kind == "not-run"


@pytest.mark.parametrize("shape", [(400, 20), ()])
def test_a_stream_that_is_cut_across_is_a_warning(shape):
    verdict = judge(stream=CutStream(down=-0.01, across=1.5, around=1.4, tokens=8000, columns=20, shape=shape, where=LINE))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, LINE)
    assert "skips 20 tokens at each step. A token tells 0 nats of the next one in time, and 1.5 " in verdict.message
    assert (verdict.fix.edit is not None) is bool(shape)
