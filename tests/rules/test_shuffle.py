from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Batches, BatchView, Leaf, Loop, Loss, LossCall, Optimizers, SampleOrder
from trainlint.rule import Verdict
from trainlint_rules.shuffle import Shuffle

LOADER = Location("train.py", 18)
CLASSES = Loss(calls=(LossCall(kind="cross_entropy", classes=5),))
SORTED = [float(i // 200) for i in range(1000)]
MIXED = [float(i * 7 % 5) for i in range(1000)]


def order(labels: Sequence[float] = (), *, batch: int = 32, **changes: object) -> SampleOrder:
    """The facts that a probe would find for these labels in this order."""
    n = len(labels)
    shares = {label: labels.count(label) / n for label in set(labels)} if n else {}
    runs = sum(a != b for a, b in itertools.pairwise(labels)) + 1 if n else 0
    expected = n * (1 - sum(s * s for s in shares.values())) + 1 if n else 0.0
    batches = [labels[i : i + batch] for i in range(0, n, batch)]
    facts = {
        "where": LOADER,
        "sampler": "SequentialSampler",
        "size": n or 1000,
        "batch_size": batch,
        "sequential": True,
        "same_each_epoch": True,
        "labels": tuple(labels),
        "label_runs": runs,
        "expected_runs": expected,
        "runs_z": (runs - expected) / max(math.sqrt(n) / 2, 1) if n else 0.0,
        "batch_label_share": sum(max(b.count(x) for x in set(b)) / len(b) for b in batches) / len(batches) if n else None,
        "overall_label_share": max(shares.values()) if n else None,
    }
    return SampleOrder(**{**facts, **changes})


def judge(facts: SampleOrder, loss: Loss = CLASSES, epochs: int | None = None, kind: str = "image", accumulation: int = 1) -> Verdict:
    leaf = Leaf(path="[0]", role="input", kind=kind, shape=(32, 3, 8, 8), dtype="float32")
    batches = Batches(train=(BatchView(phase="train", leaves=(leaf,), inputs=(leaf,)),))
    return Shuffle().judge(facts, loss, Optimizers(epochs=epochs), batches, Loop(accumulation=accumulation))


def test_errs_when_samples_come_sorted_by_class():
    verdict = judge(order(SORTED))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.ERROR)
    assert "5 stretches" in verdict.message
    assert verdict.location == LOADER
    assert "shuffle=True" in verdict.fix.code
    assert verdict.details[0].lines[0].y[0] == 0.0


def test_errs_when_the_samples_looked_at_are_all_of_one_class():
    verdict = judge(order([0.0] * 4096, size=60000))
    assert verdict.severity is Severity.ERROR
    assert "first 4,096 of 60,000" in verdict.message


def test_passes_a_shuffled_loader():
    assert judge(order(MIXED, sampler="RandomSampler", sequential=False, same_each_epoch=False)).kind == "pass"


GROUPED = {"sampler": "ClassSampler", "sequential": False, "same_each_epoch": False, "sampler_where": Location("train.py", 12)}
BY_CLASS = [float(i // 32 * 7 % 5) for i in range(32 * 20)]


def test_speaks_of_batches_of_a_single_class():
    verdict = judge(order(BY_CLASS, **GROUPED))
    assert (verdict.severity, verdict.location.line) == (Severity.WARNING, 12)
    assert "Each batch of 32 holds a single class" in verdict.message
    assert judge(order(BY_CLASS, **GROUPED), Loss(values=(0.0, 0.0))).severity is Severity.ERROR


def test_labels_that_a_metric_compares_tell_only_with_a_loss_of_zero():
    facts = order((), size=640, single_batches=8, single_values=6, **GROUPED)
    assert judge(facts, Loss(values=(0.0, 0.0))).severity is Severity.ERROR
    assert judge(facts, Loss(values=(0.2, 0.0))).kind == "pass"


def test_passes_batches_of_several_classes_and_few_classes():
    pairs = [float(i // 4 * 7 % 5) for i in range(32 * 20)]
    assert judge(order(pairs, **GROUPED)).kind == "pass"
    assert judge(order([float(i // 32 % 2) for i in range(32 * 20)], **GROUPED)).kind == "pass"
    assert judge(order(BY_CLASS, **GROUPED), accumulation=4).kind == "pass"
    assert judge(order(BY_CLASS, batch=2, **GROUPED)).kind == "pass"


def test_warns_of_a_fixed_order_with_mixed_labels():
    verdict = judge(order(MIXED))
    assert verdict.severity is Severity.WARNING
    assert "same order in every epoch" in verdict.message


def test_warns_of_stretches_that_are_no_sorting():
    labels = [float(i // 20 % 5) for i in range(1000)]
    assert judge(order(labels, batch=100)).severity is Severity.WARNING


def test_sorted_samples_without_a_classification_loss_are_a_warning():
    assert judge(order(SORTED), Loss(calls=(LossCall(kind="mse_loss"),))).severity is Severity.WARNING


def test_a_formula_of_the_script_that_learns_from_sorted_labels_is_an_error():
    assert judge(order(SORTED), Loss()).severity is Severity.ERROR


def test_warns_when_set_epoch_is_never_called():
    facts = order(MIXED, sampler="DistributedSampler", sequential=False, distributed=True, set_epoch_called=False)
    verdict = judge(facts)
    assert verdict.severity is Severity.WARNING
    assert "set_epoch" in verdict.message
    assert "set_epoch(epoch)" in verdict.fix.code


def test_text_read_in_order_is_a_note():
    verdict = judge(order(), Loss(calls=(LossCall(kind="cross_entropy", classes=10000),)), kind="tokens")
    assert verdict.severity is Severity.NOTE
    assert "carries its state" in verdict.message


def test_warns_of_a_fixed_order_of_pictures_whose_labels_are_not_used():
    assert judge(order(), Loss(calls=(LossCall(kind="mse_loss"),))).severity is Severity.WARNING


def test_a_permutation_that_is_drawn_again_points_at_the_seed():
    verdict = judge(order(MIXED, sampler="RandomSampler", sequential=False))
    assert verdict.severity is Severity.WARNING
    assert "Seed once" in verdict.fix.summary
    assert verdict.fix.edit.kind == "seed-once"


def test_the_first_samples_may_all_be_of_one_class_when_the_rest_is_known():
    facts = order([0.0] * 4096, size=60000, expected_runs=3687.0, runs_z=-200.0, overall_label_share=0.1)
    verdict = judge(facts)
    assert verdict.severity is Severity.ERROR
    assert "1 stretches" not in verdict.message


def test_a_dataset_that_draws_at_random_has_no_fixed_order():
    assert judge(order([1.0, 0.0] * 500, random_dataset=True)).kind == "pass"


def test_a_single_batch_of_all_data_passes():
    assert judge(order(SORTED, batch=1000)).kind == "pass"


def test_a_single_epoch_over_mixed_data_passes():
    assert judge(order(MIXED), epochs=1).kind == "pass"


def test_a_single_epoch_over_sorted_data_is_still_an_error():
    assert judge(order(SORTED), epochs=1).severity is Severity.ERROR


@pytest.mark.parametrize("labels", [MIXED, [float(i // 4 % 5) for i in range(1000)]])
def test_a_sampler_that_groups_anew_each_epoch_passes(labels):
    assert judge(order(labels, sampler="MPerClassSampler", sequential=False, same_each_epoch=False)).kind == "pass"


def test_a_fixed_order_by_a_sampler_of_its_own_is_a_note():
    assert judge(order(MIXED, sampler="BucketSampler", sequential=False)).severity is Severity.NOTE


def test_imbalanced_but_mixed_labels_are_not_sorted():
    labels = [float(i % 33 == 0) for i in range(1000)]
    assert judge(order(labels, sampler="RandomSampler", sequential=False, same_each_epoch=False)).kind == "pass"


def test_an_iterable_dataset_in_mixed_order_is_not_judged():
    assert judge(order(MIXED, iterable=True, sequential=False, same_each_epoch=None, sampler="")).kind == "not-run"


def test_an_iterable_dataset_sorted_by_class_is_a_warning():
    verdict = judge(order(SORTED, iterable=True, sequential=False, same_each_epoch=None, sampler=""))
    assert verdict.severity is Severity.WARNING
    assert "buffer" in verdict.fix.code


def test_warns_of_a_sampler_that_draws_the_same_part_again():
    part = order(sampler="SubsetEachEpoch", size=2000, epoch_size=128, first_epoch=(71, 5, 1900, 33), sequential=False)
    verdict = judge(part, epochs=10)
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert "the same 128 of 2,000 samples" in verdict.message


def test_warns_of_a_sampler_that_sets_its_seed_anew():
    seeded = order(
        sampler="Shuffled", size=1000, epoch_size=1000, first_epoch=(71, 5, 900), sequential=False, seeded_where=Location("train.py", 9)
    )
    verdict = judge(seeded, epochs=10)
    assert (verdict.severity, verdict.location) == (Severity.WARNING, Location("train.py", 9))


def test_a_fixed_order_of_all_data_or_of_a_rising_part_may_be_a_design():
    for facts in ({"epoch_size": 1000, "first_epoch": (71, 5, 900)}, {"epoch_size": 200, "first_epoch": (5, 71, 900)}):
        assert judge(order(sampler="ByLength", size=1000, sequential=False, **facts), epochs=10).severity is Severity.NOTE


SAMPLER = Location("train.py", 16)


def drawn(indices: Sequence[int], size: int = 1200, **facts: object) -> SampleOrder:
    found = order(size=size, sampler="WeightedRandomSampler", sequential=False, same_each_epoch=False, first_epoch=tuple(indices))
    return replace(found, sampler_where=SAMPLER, **facts)


def test_errs_when_a_sampler_was_given_the_weights_of_classes():
    verdict = judge(drawn([i % 5 for i in range(1200)], reach=5))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.ERROR, SAMPLER)
    assert "5 weights for 1,200 samples" in verdict.message
    assert verdict.fix.edit.kind == "weigh-samples"


def test_warns_of_weights_for_less_than_half_of_the_samples():
    assert judge(drawn([i % 400 for i in range(1200)], reach=400)).severity is Severity.WARNING


def test_warns_of_a_sampler_that_draws_the_same_few_samples():
    verdict = judge(drawn([i % 3 for i in range(1200)], reach=1200))
    assert verdict.severity is Severity.WARNING
    assert "only 3 different samples in 1,200" in verdict.message


@pytest.mark.parametrize(
    "facts",
    [
        drawn([i * 3 % 700 for i in range(1200)], reach=1200),  # with replacement, and rare classes drawn often
        drawn([i % 3 for i in range(60)], reach=1200),
        drawn(range(1000), reach=1000),  # a part was kept back
        drawn([i % 8 for i in range(400)], size=8, batch_size=4, reach=8),  # a small dataset, drawn from again and again
    ],
)
def test_samplers_that_reach_their_data_pass(facts: SampleOrder):
    assert judge(facts).kind == "pass"


def test_warns_of_a_seed_that_comes_again_while_batches_are_drawn():
    verdict = judge(SampleOrder(drawn=("torch",), reseeded="torch", reseeded_where=SAMPLER))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, SAMPLER)
    assert "the same batches are drawn" in verdict.message
    assert "torch.set_rng_state(state)" in verdict.fix.code
    assert verdict.fix.edit.kind == "restore-generator"


def test_batches_drawn_from_a_generator_that_runs_on_pass():
    assert judge(SampleOrder(drawn=("numpy", "torch"))).kind == "pass"


def test_warns_of_a_seed_that_decides_on_the_order_of_each_epoch():
    mixed = order(MIXED, sampler="RandomSampler", sequential=False, same_each_epoch=False, reseeded="torch", reseeded_where=SAMPLER)
    assert judge(mixed).location == SAMPLER
    assert judge(mixed, epochs=1).kind == "pass"


def test_warns_of_predictions_that_come_in_another_order():
    verdict = judge(order(MIXED, sampler="RandomSampler", sequential=False, same_each_epoch=False, predictions_mixed=SAMPLER))
    assert (verdict.severity, verdict.location) == (Severity.WARNING, SAMPLER)
    assert verdict.fix.edit.kind == "predict-in-order"


BUCKETS = {"sampler": "ByLength", "sequential": False, "same_each_epoch": False, "handed_where": Location("train.py", 31)}


def test_warns_of_a_sampler_that_sorts_after_it_has_drawn():
    labels = [float(i // 200 if i % 5 else i % 7) for i in range(1000)]
    verdict = judge(order(labels, epochs_alike=0.98, **BUCKETS))
    assert (verdict.severity, verdict.location.line) == (Severity.WARNING, 31)
    assert "0.98" in verdict.message
    assert "random.shuffle(batches)" in verdict.fix.code


def test_a_handful_of_batches_may_come_in_the_same_order_by_chance():
    assert judge(order(SORTED, batch=150, epochs_alike=0.98, **BUCKETS)).kind == "pass"


@pytest.mark.parametrize(("labels", "alike"), [(SORTED, 0.1), (SORTED, None), (MIXED, 0.98), ([], 0.98)])
def test_passes_batches_in_random_order_and_sorting_that_mixes_labels(labels, alike):
    assert judge(order(labels, epochs_alike=alike, **BUCKETS)).kind == "pass"
