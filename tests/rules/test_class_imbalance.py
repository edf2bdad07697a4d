from __future__ import annotations

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Batches, BatchView, DataScan, LabelCount, Leaf, Loss, LossCall, SampleOrder
from trainlint.rule import Verdict
from trainlint_rules.class_imbalance import ClassImbalance

CRITERION, VAL_SET = Location("train.py", 30), Location("train.py", 12)
PORES = {"0.0": 2328, "1.0": 72}
TEN = {str(i): 100 + i for i in range(10)}
IMAGES = Leaf(path="[0]", role="input", kind="image", shape=(64, 1, 24, 24), dtype="float32")


def bce(**changes: object) -> LossCall:
    facts = {
        "kind": "binary_cross_entropy_with_logits",
        "where": CRITERION,
        "elements": 64,
        "batch_size": 64,
        "target_values": {"0.0": 62, "1.0": 2},
    }
    return LossCall(**{**facts, **changes})


def cross_entropy(classes: int, **changes: object) -> LossCall:
    facts = {"kind": "cross_entropy", "where": CRITERION, "classes": classes, "elements": 64, "batch_size": 64, "target_values": {"0": 64}}
    return LossCall(**{**facts, **changes})


def judge(
    counts: dict[str, int],
    *calls: LossCall,
    val: dict[str, int] | None = None,
    order: SampleOrder | None = None,
    optimizers: int = 1,
    complete: bool = True,
    leaf: Leaf = IMAGES,
) -> Verdict:
    labels = [LabelCount(phase="train", path="[1]", counts=counts, complete=complete)]
    if val is not None:
        labels.append(LabelCount(phase="val", path="[1]", counts=val, complete=True))
    scan = DataScan(samples_seen=sum(counts.values()), labels=tuple(labels), where={"val": VAL_SET})
    batches = Batches(train=(BatchView(phase="train", leaves=(leaf,), inputs=(leaf,)),))
    return ClassImbalance().judge(Loss(calls=calls, optimizers=optimizers), scan, order or SampleOrder(sampler="RandomSampler"), batches)


def test_warns_of_few_positives_and_a_plain_loss():
    verdict = judge(PORES, bce())
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert "72 of 2,400" in verdict.message
    assert "always answering 0 is 97.0% right" in verdict.message
    assert "tensor(32.3)" in verdict.fix.code
    assert verdict.location == CRITERION


def test_passes_even_classes():
    assert judge(TEN, cross_entropy(10)).kind == "pass"


@pytest.mark.parametrize("changes", [{"weighted": True}, {"reduction": "none"}])
def test_a_weighted_loss_makes_up_for_it(changes):
    assert judge(PORES, bce(**changes)).kind == "pass"


@pytest.mark.parametrize("sampler", ["WeightedRandomSampler", "BalancedBatchSampler"])
def test_a_sampler_of_its_own_kind_makes_up_for_it(sampler):
    assert judge(PORES, bce(), order=SampleOrder(sampler=sampler)).kind == "pass"


def test_labels_that_are_drawn_evenly_make_up_for_it():
    assert judge(PORES, bce(), order=SampleOrder(sampler="", labels=(0.0, 1.0) * 100)).kind == "pass"


def test_ten_percent_positives_pass():
    assert judge({"0": 900, "1": 100}, bce(target_values={"0.0": 60, "1.0": 4})).kind == "pass"


def test_a_long_tail_is_only_a_note():
    counts = {str(i): max(1000 // (i + 1), 12) for i in range(100)}
    assert judge(counts, cross_entropy(100)).severity is Severity.NOTE


def test_positions_of_text_or_pictures_are_uneven_by_nature():
    assert judge(TEN, cross_entropy(50, elements=64 * 119, target_values={"0": 6000, "7": 1616})).kind == "pass"


def tokens(maximum: float) -> Leaf:
    return Leaf(path="[0]", role="input", kind="tokens", shape=(32, 119), dtype="int64", maximum=maximum)


def language_model(**changes: object) -> LossCall:
    facts = {"elements": 3808, "batch_size": 3808, "target_values": {"0": 2856, "3": 400, "4": 302, "5": 250}}
    return cross_entropy(32, **{**facts, **changes})


def test_warns_of_padding_that_a_language_model_is_scored_on():
    verdict = judge(TEN, language_model(), leaf=tokens(31))
    assert verdict.severity is Severity.WARNING
    assert "75% of the tokens" in verdict.message
    assert "ignore_index=0" in verdict.fix.code


def test_ignored_padding_passes():
    call = language_model(ignore_index=0, elements=952)
    assert judge(TEN, call, leaf=tokens(31)).kind == "pass"


def test_tags_of_words_are_mostly_of_one_kind():
    assert judge(TEN, language_model(), leaf=tokens(29_999)).kind == "pass"


def test_rare_positives_of_many_labels_are_a_note():
    call = bce(elements=64 * 40, target_values={"0.0": 2550, "1.0": 10})
    assert judge({"0": 100, "1": 900}, call).severity is Severity.NOTE


def test_usual_multi_label_targets_pass():
    assert judge(PORES, bce(elements=64 * 6, target_values={"0.0": 230, "1.0": 154})).kind == "pass"


def test_labels_that_the_loss_does_not_see_are_not_judged():
    assert judge(TEN, bce(target_values={"1.0": 64})).kind == "not-run"


def test_adversarial_training_is_not_judged():
    assert judge(PORES, bce(), optimizers=2).kind == "not-run"


def test_regression_is_not_judged():
    assert judge(PORES, LossCall(kind="mse_loss")).kind == "not-run"


def test_soft_targets_have_no_counts():
    assert judge(TEN, cross_entropy(10, target_is_probabilities=True)).kind == "not-run"


def test_the_beginning_of_an_iterable_dataset_need_not_be_like_the_rest():
    assert judge({"0": 600, "1": 4}, bce(), order=SampleOrder(iterable=True), complete=False).kind == "not-run"


def test_warns_of_classes_that_only_validation_has():
    verdict = judge({"0": 300, "1": 300}, cross_entropy(3), val={"0": 40, "1": 40, "2": 20})
    assert verdict.severity is Severity.WARNING
    assert "(2)" in verdict.message
    assert "20.0% of validation labels" in verdict.message


def test_notes_classes_that_validation_lacks():
    verdict = judge(TEN, cross_entropy(10), val={str(i): 10 for i in range(8)})
    assert verdict.severity is Severity.NOTE
    assert verdict.location == VAL_SET


def test_parts_that_are_split_by_class_on_purpose_pass():
    assert judge({"0": 300, "1": 300}, cross_entropy(4), val={"2": 50, "3": 50}).kind == "pass"


def test_warns_of_a_single_class():
    assert judge({"0": 500}, cross_entropy(10)).severity is Severity.WARNING


def test_a_handful_of_labels_says_nothing():
    assert judge({"0": 60, "1": 2}, bce()).kind == "not-run"


SLIPS = {"0": 3374, "1": 462, "2": 164}


def test_warns_of_class_weights_that_grow_with_frequency():
    verdict = judge(SLIPS, cross_entropy(3, weighted=True, class_weights=(2.53, 0.347, 0.123)))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, CRITERION)
    assert "class 0 has 3,374 labels and weighs 2.53" in verdict.message


@pytest.mark.parametrize("weights", [(0.4, 2.9, 8.1), (1.0, 1.0, 1.0), (1.0, 2.0, 0.5), (1.2, 1.0, 1.0)])
def test_passes_class_weights_that_even_out_or_have_another_purpose(weights):
    assert judge(SLIPS, cross_entropy(3, weighted=True, class_weights=weights)).kind == "pass"


@pytest.mark.parametrize(("weight", "kind"), [(2328.0, "fail"), (32.3, "pass"), (100.0, "pass"), (0.03, "fail")])
def test_warns_of_a_pos_weight_far_from_negatives_per_positive(weight, kind):
    verdict = judge(PORES, bce(weighted=True, pos_weight=weight))
    assert verdict.kind == kind
    if kind == "fail":
        assert "negatives outnumber positives 32.3 times" in verdict.message


def test_warns_of_a_count_as_pos_weight_of_several_labels():
    call = bce(weighted=True, pos_weight=2700.0, elements=384, target_values={"0.0": 345, "1.0": 39})
    assert judge({}, call).kind == "fail"


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_warns_of_weights_in_another_order_than_the_classes(power):
    counts = {"0": 90, "1": 1860, "2": 840, "3": 210}
    right = [n**-power for n in counts.values()]
    by_frequency = [sorted(counts.values(), reverse=True)[i] ** -power for i in range(4)]
    verdict = judge(counts, cross_entropy(4, weighted=True, class_weights=tuple(by_frequency)))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert "another order" in verdict.message
    assert judge(counts, cross_entropy(4, weighted=True, class_weights=tuple(right))).kind == "pass"
