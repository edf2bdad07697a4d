from __future__ import annotations

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Batches, BatchView, DataScan, Leaf, NonFinite, NonFiniteSample
from trainlint_rules.input_finite import InputFinite

DATASET, LOADER = Location("train.py", 20), Location("train.py", 25)
SCANNED = DataScan(samples_seen=426, where={"train": DATASET})
FINE = NonFinite(steps=6)


def table(**changes: object) -> Leaf:
    facts = {"path": "[0]", "role": "input", "kind": "table", "shape": (32, 30), "dtype": "float32", "minimum": -2.0, "maximum": 2.0}
    return Leaf(**{**facts, **changes})


def target(**changes: object) -> Leaf:
    facts = {"path": "[1]", "role": "target", "kind": "scalar", "shape": (32, 12), "dtype": "float32", "maximum": 1.0}
    return Leaf(**{**facts, **changes})


def batches(*leaves: Leaf) -> Batches:
    return Batches(train=(BatchView(phase="train", leaves=leaves, inputs=tuple(x for x in leaves if x.role == "input"), where=LOADER),))


def scan(*samples: NonFiniteSample) -> DataScan:
    return DataScan(samples_seen=426, nonfinite=samples, nonfinite_samples=len(samples), where={"train": DATASET})


def test_passes_when_all_is_finite():
    verdict = InputFinite().judge(batches(table(), target()), SCANNED, FINE)
    assert verdict.kind == "pass"
    assert "426 scanned samples" in verdict.message


def test_errs_when_a_nan_entered_the_model_and_the_step_broke():
    found = NonFinite(steps=6, found=True, step=2, what="input")
    verdict = InputFinite().judge(batches(table(nonfinite=2, nonfinite_rows=(4, 9)), target()), SCANNED, found)
    assert (verdict.kind, verdict.severity) == ("fail", Severity.ERROR)
    assert "rows 4, 9" in verdict.message
    assert verdict.location == DATASET


def test_warns_of_samples_that_only_the_scan_met():
    samples = (NonFiniteSample(phase="train", path="[0]", index=112, columns=(3, 7)), NonFiniteSample(phase="train", path="[0]", index=300))
    verdict = InputFinite().judge(batches(table(), target()), scan(*samples), FINE)
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert "2 of 426" in verdict.message
    assert "columns 3, 7 of [0], samples 112, 300" in verdict.message
    assert "fillna" in verdict.fix.code


def test_masked_missing_targets_of_a_multi_task_model_pass():
    verdict = InputFinite().judge(batches(table(), target(nonfinite=140)), SCANNED, FINE)
    assert verdict.kind == "pass"
    assert "masks or fills" in verdict.message


def test_an_additive_attention_mask_is_infinite_by_design():
    mask = Leaf(path="['mask']", role="input", kind="tensor", shape=(8, 16, 16), dtype="float32", nonfinite=960)
    sample = NonFiniteSample(phase="train", path="['mask']", index=0, value="-inf")
    assert InputFinite().judge(batches(table(), mask), scan(sample), FINE).kind == "pass"


def test_an_input_without_any_number_is_no_mask():
    lost = table(kind="tensor", shape=(4, 2, 3, 5), minimum=0.0, maximum=0.0, nonfinite=120)
    found = NonFinite(steps=1, found=True, step=1, what="input")
    assert InputFinite().judge(batches(lost), SCANNED, found).severity is Severity.ERROR


def test_values_that_reach_neither_model_nor_loss_are_left_alone():
    weight = Leaf(path="['meta']", role="other", kind="scalar", shape=(32,), dtype="float64")
    sample = NonFiniteSample(phase="train", path="['meta']", index=5)
    assert InputFinite().judge(batches(table(), weight), scan(sample), FINE).kind == "pass"


def test_judges_recorded_batches_when_there_is_no_loader_to_scan():
    verdict = InputFinite().judge(batches(table()), DataScan(), FINE)
    assert verdict.kind == "pass"
    assert "1 recorded batches" in verdict.message


def test_says_where_a_broken_scan_stopped():
    broken = DataScan(samples_seen=40, error="KeyError: 'mask' on sample 41")
    assert "KeyError" in InputFinite().judge(batches(table()), broken, FINE).message
