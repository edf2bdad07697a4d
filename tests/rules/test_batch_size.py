from __future__ import annotations

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import BatchSize, NormLayer
from trainlint.rule import Verdict
from trainlint_rules.batch_size import BatchSizeRule

WHERE = Location("train.py", 12)


def norm(samples: int, values: int) -> NormLayer:
    return NormLayer(module="bn", kind="BatchNorm2d", samples=samples, values=values, where=Location("net.py", 3))


def judge(**facts: object) -> Verdict:
    return BatchSizeRule().judge(BatchSize(**{"batch_size": 32, "where": WHERE, "dataset_size": 1000, "steps_per_epoch": 32, **facts}))


def test_warns_of_norms_over_two_samples():
    verdict = judge(batch_size=2, norms=(norm(2, 2), norm(2, 512)))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert "2 samples" in verdict.message
    assert verdict.location == WHERE


def test_few_samples_with_many_positions_are_a_note():
    assert judge(batch_size=2, norms=(norm(2, 8192),)).severity is Severity.NOTE


def test_a_loop_without_a_loader_points_at_the_layer():
    assert judge(batch_size=2, where=None, norms=(norm(2, 2),)).location == Location("net.py", 3)


def test_enough_samples_pass():
    assert judge(norms=(norm(8, 8),)).kind == "pass"


def test_small_batches_without_batch_normalisation_pass():
    assert judge(batch_size=1).kind == "pass"


def test_one_batch_for_all_data_is_a_note_and_a_warning_in_a_run_of_few_steps():
    assert judge(batch_size=1000, steps_per_epoch=1, epochs=200).severity is Severity.NOTE
    verdict = judge(batch_size=1000, steps_per_epoch=1, epochs=10)
    assert verdict.severity is Severity.WARNING
    assert "the whole run 10 steps" in verdict.message


def test_a_gradient_of_noise_is_a_note_and_a_clear_one_passes():
    assert judge(noise_scale=5000.0, gradients=6).severity is Severity.NOTE
    assert judge(noise_scale=3.0, gradients=6).kind == "pass"


def test_a_data_set_of_unknown_size_passes():
    assert judge(dataset_size=None, steps_per_epoch=None).kind == "pass"


def test_where_no_batch_was_seen_there_is_nothing_to_judge():
    assert judge(batch_size=None, dataset_size=None, steps_per_epoch=None).kind == "not-run"
    assert judge(batch_size=None, dataset_size=None, norms=(norm(32, 2048),)).kind == "pass"
