from __future__ import annotations

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import LastBatch, LoaderEnd
from trainlint.rule import Verdict
from trainlint_rules.last_batch import LastBatchRule

LOADER = Location("train.py", 8)


def end(samples: int, size: int, phase: str = "train", *, drop: bool = False, shuffled: bool = True) -> LoaderEnd:
    return LoaderEnd(
        phase=phase, samples=samples, batch_size=size, drop_last=drop, last=samples % size or size, shuffled=shuffled, where=LOADER
    )


def judge(*loaders: LoaderEnd, **facts: object) -> Verdict:
    return LastBatchRule().judge(LastBatch(loaders=loaders, **facts))


def test_warns_of_one_sample_that_batch_norm_refuses():
    verdict = judge(end(1025, 64), single=("1",))
    assert (verdict.severity, verdict.location) == (Severity.WARNING, LOADER)
    assert "1,025 samples in batches of 64" in verdict.message
    assert "drop_last=True" in verdict.fix.code


def test_notes_one_picture():
    assert judge(end(1025, 64), several=("body.norm",)).severity is Severity.NOTE


def test_errs_when_all_samples_are_dropped_and_nothing_is_trained():
    verdict = judge(end(40, 64, "empty", drop=True), trained=False)
    assert verdict.severity is Severity.ERROR
    assert verdict.fix.edit.values == {"drop": False}
    assert judge(end(1000, 10), end(40, 64, "empty", drop=True)).severity is Severity.WARNING


def test_warns_of_samples_that_are_never_validated():
    verdict = judge(end(1000, 10), end(150, 100, "val", drop=True, shuffled=False))
    assert verdict.severity is Severity.WARNING
    assert "50 of 150 validation samples (33.3%) out, the same ones" in verdict.message
    assert judge(end(1000, 10), end(1005, 10, "val", drop=True)).severity is Severity.NOTE


@pytest.mark.parametrize(
    ("loader", "facts"),
    [
        (end(1025, 64), {}),  # no batch norm, or in eval mode
        (end(1025, 64, drop=True), {"single": ("1",)}),
        (end(1026, 64), {"single": ("1",)}),
        (end(1024, 64), {"single": ("1",)}),
        (end(30, 1), {"several": ("1",)}),  # batches of one by design
        (end(40, 64, drop=False), {"single": ("1",)}),
        (end(1025, 64, "val"), {"single": ("1",)}),
    ],
)
def test_passes_whole_batches_and_models_that_do_not_mind(loader: LoaderEnd, facts: dict[str, object]):
    assert judge(loader, **facts).kind == "pass"


def test_says_nothing_about_streams():
    assert judge().kind == "not-run"
