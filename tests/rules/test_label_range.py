from __future__ import annotations

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Batches, BatchView, DataScan, LabelCount, Leaf, Loss, LossCall
from trainlint_rules.label_range import LabelRange

LINE = Location("train.py", 30)
NOTHING = Batches(), DataScan()


def call(kind="cross_entropy", labels=range(10), classes=10, **changes):
    labels = list(labels)
    facts = {
        "classes": classes,
        "target_shape": (len(labels),),
        "target_dtype": "int64",
        "target_min": float(min(labels)),
        "target_max": float(max(labels)),
        "target_values": {str(v): labels.count(v) for v in set(labels)},
        "ignore_index": -100 if kind in {"cross_entropy", "nll_loss"} else None,
        "batch_size": len(labels),
        "elements": len(labels),
    }
    return LossCall(kind=kind, where=LINE, **(facts | changes))


def loader(first, scanned, phase="train", complete=True, kind="labels", shift=0):
    """A loader whose first batch holds ``first``; a shift is what the loop adds to the labels before the loss."""
    leaf = Leaf(
        path="[1]", role="target", kind=kind, shape=(len(first),), dtype="int64", minimum=min(first) - shift, maximum=max(first) - shift
    )
    counts = {str(v): scanned.count(v) for v in set(scanned)}
    count = LabelCount(phase=phase, path="[1]", counts=counts, complete=complete, minimum=min(scanned), maximum=max(scanned))
    return Batches(train=(BatchView(phase="train", leaves=(leaf,)),)), DataScan(samples_seen=len(scanned), labels=(count,))


def judge(loss_call, data=NOTHING, **changes):
    return LabelRange().judge(Loss(calls=(loss_call,), **changes), *data)


def test_labels_that_fit_the_outputs_pass():
    first = list(range(10))
    assert judge(call(), loader(first, first * 50)).kind == "pass"


def test_a_label_without_an_output_is_an_error():
    verdict = judge(call(labels=range(1, 11)))
    assert verdict.kind == "fail"
    assert verdict.severity is Severity.ERROR
    assert verdict.location == LINE
    assert verdict.fix.code == "target = target - 1"


def test_a_label_without_an_output_is_found_beyond_the_first_batch():
    first = [0, 1, 2, 3]
    verdict = judge(call(labels=first, classes=4), loader(first, [*first * 20, 4]))
    assert verdict.severity is Severity.ERROR
    assert "training data" in verdict.message


def test_labels_counted_from_one_leave_the_first_output_untrained():
    first = [1, 2, 3, 4, 5]
    verdict = judge(call(labels=first, classes=6), loader(first, first * 40))
    assert verdict.kind == "fail"
    assert verdict.severity is Severity.WARNING
    assert "output 0 is never trained" in verdict.message
    assert verdict.details[0].highlight == (0,)


def test_labels_shifted_in_the_loop_are_not_judged_by_what_the_loader_gave():
    first = [0, 1, 2, 3, 4]
    assert judge(call(labels=first, classes=5), loader(first, [1, 2, 3, 4, 5] * 40, shift=-1)).kind == "pass"


def test_a_class_absent_from_a_small_batch_is_no_fault():
    first = [1, 2, 3, 4, 5]
    assert judge(call(labels=first, classes=6), loader(first, first, complete=False)).kind == "pass"


@pytest.mark.parametrize(("kind", "ignore"), [("tokens", -100), ("mask", -100), ("labels", 0)])
def test_reserved_and_ignored_ids_are_no_fault(kind, ignore):
    first = [1, 2, 3, 4, 5]
    assert judge(call(labels=first, classes=6, ignore_index=ignore), loader(first, first * 40, kind=kind)).kind == "pass"


def test_the_ignored_label_may_lie_outside():
    assert judge(call(labels=[-1, 0, 1, 2], classes=3, ignore_index=-1)).kind == "pass"
    assert judge(call(labels=[0, 1, 255], classes=2, ignore_index=255)).kind == "pass"
    assert judge(call(labels=[0, 1, 255], classes=2)).severity is Severity.ERROR


def test_outputs_beyond_the_highest_label_are_a_note():
    first = [0, 1, 2]
    verdict = judge(call(labels=first, classes=1000), loader(first, first * 40))
    assert verdict.severity is Severity.NOTE
    assert judge(call(labels=first, classes=1000)).kind == "pass"


def test_a_negative_label_further_on_may_be_filtered_out_and_is_a_warning():
    first = [0, 1, 2]
    assert judge(call(labels=first, classes=3), loader(first, [*first * 40, -1])).severity is Severity.WARNING


def test_validation_that_counts_from_one_on_its_own_is_a_note():
    first = [0, 1, 2]
    batches, scan = loader(first, first * 40)
    _, validation = loader(first, [1, 2, 3] * 10, phase="val")
    both = DataScan(samples_seen=150, labels=(*scan.labels, *validation.labels))
    verdict = judge(call(labels=first, classes=3), (batches, both))
    assert verdict.severity is Severity.NOTE
    assert "validation data" in verdict.message


def test_one_output_for_a_class_loss_learns_nothing():
    verdict = judge(call(labels=[0, 0, 0], classes=1))
    assert verdict.severity is Severity.ERROR
    assert "always 0" in verdict.message


def test_float_labels_are_an_error_and_soft_labels_are_fine():
    assert judge(call(target_dtype="float32")).severity is Severity.ERROR
    soft = {"target_dtype": "float32", "target_is_probabilities": True, "target_shape": (8, 10), "target_values": None}
    assert judge(call(target_min=0.0, target_max=0.91, **soft)).kind == "pass"
    assert judge(call(target_min=-4.2, target_max=7.9, **soft)).severity is Severity.WARNING


@pytest.mark.parametrize(("labels", "code"), [([-1, 1], "(target + 1) / 2"), ([1, 2], "target - 1"), ([0, 255], "/ 255")])
def test_binary_targets_outside_zero_and_one_run_away(labels, code):
    verdict = judge(call("binary_cross_entropy_with_logits", labels, classes=None))
    assert verdict.severity is Severity.ERROR
    assert code in verdict.fix.code


def test_binary_targets_are_told_where_the_dataset_makes_them():
    made = Location("data.py", 9)
    leaf = Leaf(path="[1]", role="target", kind="image", shape=(2,), dtype="float32", minimum=0.0, maximum=255.0, made_where=made)
    data = Batches(train=(BatchView(phase="train", leaves=(leaf,)),)), DataScan()
    assert judge(call("binary_cross_entropy_with_logits", [0, 255], classes=None), data).location == made
    assert judge(call("binary_cross_entropy_with_logits", [0, 254], classes=None), data).location == LINE


def test_soft_labels_of_a_gan_and_masked_targets_are_no_fault():
    kind = "binary_cross_entropy_with_logits"
    assert judge(call(kind, [0, 1], classes=None, target_max=1.2), optimizers=2).kind == "pass"
    assert judge(call(kind, [-1, 0, 1], classes=None, reduction="none")).kind == "pass"
    assert judge(call(kind, [0, 1], classes=None)).kind == "pass"


def test_token_targets_with_too_many_values_to_count_are_judged_by_their_range():
    tokens = {"target_values": None, "target_shape": (4096,), "target_min": 3.0, "target_max": 50256.0}
    assert judge(call(classes=50304, **tokens)).kind == "pass"
    assert judge(call(classes=50000, **tokens)).severity is Severity.ERROR


def test_without_a_class_loss_there_is_nothing_to_judge():
    assert judge(call("mse_loss", classes=None)).kind == "not-run"


def test_class_indices_are_shown_without_decimals():
    assert judge(call(labels=[0, 1, 2, 3], classes=4)).message == "Targets of cross_entropy go from 0 to 3 and there are 4 outputs."


@pytest.mark.parametrize("kind", ["cosine_embedding_loss", "margin_ranking_loss", "hinge_embedding_loss", "soft_margin_loss"])
def test_zero_and_one_for_a_loss_over_pairs_are_an_error(kind):
    verdict = judge(call(kind, labels=[0, 1, 1, 0], classes=None))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.ERROR)
    assert judge(call(kind, labels=[-1, 1, 1, -1], classes=None)).kind == "pass"


def test_a_label_that_is_the_blank_of_ctc_is_an_error():
    strings = [1, 0, 4, 2, 0]
    verdict = judge(call("ctc_loss", labels=strings, classes=None, blank=0, input_shape=(24, 2, 10)))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.ERROR)
    assert "2 of 5 labels" in verdict.message
    assert judge(call("ctc_loss", labels=strings, classes=None, blank=9, input_shape=(24, 2, 10))).kind == "pass"


def test_labels_padded_with_the_blank_of_ctc_pass():
    padded = call("ctc_loss", labels=[1, 2, 0, 3, 0, 0], classes=None, blank=0, input_shape=(24, 2, 10), target_shape=(2, 3))
    assert judge(padded).kind == "pass"


def test_sequences_too_short_for_their_labels_are_told():
    verdict = judge(call("ctc_loss", labels=[1, 2, 3], classes=None, blank=0, input_shape=(2, 2, 10), too_short=0.5))
    assert verdict.severity is Severity.ERROR
