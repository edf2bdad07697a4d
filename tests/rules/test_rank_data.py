from __future__ import annotations

from typing import Any

from trainlint.finding import Severity
from trainlint.measurements import RankFacts, Ranks
from trainlint_rules.rank_data import RankData


def judge(*facts: dict[str, Any]):
    ranks = tuple(RankFacts(rank=i, **{"steps": 20, "shapes": "s", "status": "ended", **f}) for i, f in enumerate(facts))
    return RankData().judge(Ranks(world=len(facts), ranks=ranks))


def test_equal_inputs_are_an_error() -> None:
    verdict = judge({"inputs": ("a", "b", "c")}, {"inputs": ("a", "b")})
    assert (verdict.kind, verdict.severity) == ("fail", Severity.ERROR)
    assert "Processes 0 and 1" in verdict.message


def test_different_inputs_pass() -> None:
    assert judge({"inputs": ("a", "b")}, {"inputs": ("c", "d")}).kind == "pass"


def test_one_equal_batch_is_not_enough() -> None:
    assert judge({"inputs": ("a", "b")}, {"inputs": ("a", "c")}).kind == "pass"


def test_uneven_numbers_of_batches_are_a_warning_when_the_run_ended_and_an_error_when_it_did_not() -> None:
    own, other = {"inputs": ("a", "b"), "batches": (10, 10)}, {"inputs": ("c", "d"), "batches": (10, 11)}
    assert judge(own, other).severity is Severity.WARNING
    hung = judge({**own, "batches": (10,)}, {**other, "batches": (), "running": 11, "status": "crashed"})
    assert hung.severity is Severity.ERROR
    assert "10 batches and process 1 11" in hung.message


def test_a_sampler_that_is_not_told_the_epoch_is_a_warning() -> None:
    facts = {"shuffles": True, "sampler_epochs": (0, 0, 0)}
    verdict = judge({"inputs": ("a", "b"), **facts}, {"inputs": ("c", "d"), **facts})
    assert verdict.severity is Severity.WARNING
    assert "set_epoch" in verdict.fix.code
    told = {"shuffles": True, "sampler_epochs": (0, 1, 2)}
    assert judge({"inputs": ("a", "b"), **told}, {"inputs": ("c", "d"), **told}).kind == "pass"


def test_a_split_model_may_share_its_data() -> None:
    assert judge({"inputs": ("a", "b"), "sharded": True}, {"inputs": ("a", "b"), "sharded": True}).kind == "not-run"
    assert judge({"inputs": ("a", "b"), "shapes": "x"}, {"inputs": ("a", "b")}).kind == "not-run"


def test_one_process_is_not_judged() -> None:
    assert judge({"inputs": ("a", "b")}).kind == "not-run"
