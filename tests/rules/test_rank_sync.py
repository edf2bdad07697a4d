from __future__ import annotations

from typing import Any

from trainlint.finding import Severity
from trainlint.measurements import Fingerprint, RankFacts, Ranks
from trainlint_rules.rank_sync import RankSync


def prints(weights: list[float], gradients: list[float], lr: float = 0.1) -> tuple[Fingerprint, ...]:
    steps = zip(weights, gradients, strict=True)
    return tuple(Fingerprint(step=i, weights=(w, 2 * w), gradients=(g, g), lr=lr) for i, (w, g) in enumerate(steps))


def judge(*facts: dict[str, Any]):
    ranks = tuple(RankFacts(rank=i, **{"steps": 4, "shapes": "s", "joined": True, "status": "ended", **f}) for i, f in enumerate(facts))
    return RankSync().judge(Ranks(world=len(facts), ranks=ranks))


def test_equal_models_pass() -> None:
    same = {"fingerprints": prints([1, 1.1, 1.2, 1.3], [5, 4, 3, 2])}
    assert judge(same, same).kind == "pass"


def test_different_weights_at_the_start_are_an_error_even_when_gradients_are_averaged() -> None:
    verdict = judge(
        {"fingerprints": prints([1, 1.1, 1.2, 1.3], [5, 4, 3, 2])}, {"fingerprints": prints([2, 2.1, 2.2, 2.3], [5, 4, 3, 2])}
    )  # fmt: skip
    assert verdict.severity is Severity.ERROR
    assert "start from different weights" in verdict.message
    assert "nor are" not in verdict.message


def test_gradients_that_differ_at_every_step_are_an_error() -> None:
    verdict = judge(
        {"fingerprints": prints([1, 1.1, 1.2, 1.3], [5, 4, 3, 2])}, {"fingerprints": prints([1, 1.15, 1.25, 1.4], [6, 5, 4, 3])}
    )  # fmt: skip
    assert "Gradients are not averaged" in verdict.message


def test_weights_that_meet_again_are_local_steps_and_pass() -> None:
    verdict = judge(
        {"fingerprints": prints([1, 1.1, 1.2, 1.3], [5, 4, 3, 2])}, {"fingerprints": prints([1, 1.15, 1.2, 1.4], [6, 5, 4, 3])}
    )  # fmt: skip
    assert verdict.kind == "pass"


def test_processes_without_a_group_train_alone() -> None:
    same = {"fingerprints": prints([1, 1.1, 1.2, 1.3], [5, 4, 3, 2]), "joined": False}
    assert "without a process group" in judge(same, same).message


def test_different_learning_rates_are_an_error() -> None:
    one, other = prints([1] * 4, [5] * 4, lr=0.1), prints([1] * 4, [5] * 4, lr=0.01)
    assert "learning rates" in judge({"fingerprints": one}, {"fingerprints": other}).message


def test_different_numbers_of_steps_are_a_warning_once_all_have_ended() -> None:
    same = prints([1] * 4, [5] * 4)
    assert judge({"fingerprints": same, "steps": 5}, {"fingerprints": same, "steps": 4}).severity is Severity.WARNING
    assert judge({"fingerprints": same, "steps": 5, "status": "running"}, {"fingerprints": same, "steps": 4}).kind == "pass"


def test_a_split_model_is_not_judged() -> None:
    assert judge({"sharded": True}, {"sharded": True}).kind == "not-run"
