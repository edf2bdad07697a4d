from __future__ import annotations

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import GroupInfo, OptimizerInfo, Optimizers
from trainlint.rule import Verdict
from trainlint_rules.decay_groups import DecayGroups

WHERE = Location("train.py", 25)


def group(decay: float, tensors: int = 10, vectors: int = 6, lr: float = 1e-3, momentum: float = 0.0) -> GroupInfo:
    return GroupInfo(lr=lr, first_lr=lr, weight_decay=decay, tensors=tensors, norm_or_bias=vectors, momentum=momentum)


def judge(*groups: GroupInfo, kind: str = "AdamW", epochs: int | None = None, per_epoch: int | None = None) -> Verdict:
    optimizer = OptimizerInfo(index=0, kind=kind, where=WHERE, groups=groups)
    return DecayGroups().judge(Optimizers(optimizers=(optimizer,), epochs=epochs, steps_per_epoch=per_epoch))


def test_notes_a_strong_decay_on_everything():
    verdict = judge(group(0.1))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.NOTE)
    assert "6 norm weights and biases" in verdict.message
    assert "10% in 1,000 steps" in verdict.message
    assert verdict.location == WHERE


def test_warns_of_a_decay_that_takes_norm_weights_away():
    assert judge(group(3.0, lr=3e-3), epochs=5, per_epoch=30).severity is Severity.WARNING
    assert judge(group(0.1), epochs=50, per_epoch=1000).severity is Severity.NOTE, "a usual decay in a long run"


def test_passes_groups_that_leave_vectors_out():
    assert judge(group(0.1, tensors=4, vectors=0), group(0.0, tensors=6, vectors=6)).kind == "pass"


def test_warns_of_swapped_groups():
    verdict = judge(group(0.0, tensors=4, vectors=0), group(0.1, tensors=6, vectors=6))
    assert verdict.severity is Severity.WARNING
    assert "swapped" in verdict.message


def test_two_layers_with_a_decay_each_are_not_swapped_groups():
    assert judge(group(5e-4, tensors=2, vectors=1), group(0.0, tensors=2, vectors=1)).kind == "pass"


def test_the_default_decay_of_adamw_in_a_short_run_passes():
    assert judge(group(0.01), epochs=5, per_epoch=100).kind == "pass"


def test_the_same_decay_in_a_long_run_is_noted():
    assert judge(group(0.01), epochs=300, per_epoch=1000).severity is Severity.NOTE


def test_momentum_counts_for_sgd():
    assert judge(group(1e-4, lr=0.1, momentum=0.9), kind="SGD").severity is Severity.NOTE
    assert judge(group(1e-4, lr=0.1), kind="SGD").kind == "pass"


def test_passes_without_decay():
    assert judge(group(0.0)).kind == "pass"


def test_is_not_run_without_an_optimizer():
    assert DecayGroups().judge(Optimizers()).kind == "not-run"
