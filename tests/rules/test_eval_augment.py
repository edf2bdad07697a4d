from __future__ import annotations

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Overwritten, Repeat, Repeats
from trainlint.rule import Verdict
from trainlint_rules.eval_augment import EvalAugment

DATA, LOADER = Location("train.py", 12), Location("train.py", 30)


def leaf(role: str, kind: str, shape: tuple[int, ...], *, varied: int = 0, change: float = 0.4, recognised: float = 1.0) -> Repeat:
    change = change if varied else 0.0
    return Repeat(path=role, role=role, kind=kind, shape=shape, samples=32, varied=varied, change=change, recognised=recognised)


LABEL = leaf("target", "labels", (1,))
PICTURE = leaf("input", "image", (1, 3, 32, 32), varied=30)


def judge(*leaves: Repeat, **changes: object) -> Verdict:
    return EvalAugment().judge(Repeats(**{"leaves": leaves, "where": DATA, "loader_where": LOADER, **changes}))


def test_passes_samples_that_stay():
    assert judge(leaf("input", "image", (1, 3, 32, 32)), LABEL).kind == "pass"


def test_warns_of_augmented_pictures_and_names_the_transforms():
    verdict = judge(PICTURE, LABEL, random_transforms=("RandomAffine", "RandomErasing"), shared=True)
    assert (verdict.severity, verdict.location) == (Severity.WARNING, DATA)
    assert "RandomAffine, RandomErasing: 30 of 32 samples" in verdict.message
    assert "share one dataset" in verdict.fix.summary


def test_warns_of_pictures_that_vary_with_their_masks():
    assert judge(PICTURE, leaf("target", "mask", (1, 32, 32), varied=29)).severity is Severity.WARNING


def test_strong_crops_count_where_their_transform_is_found():
    cropped = leaf("input", "image", (1, 3, 32, 32), varied=32, change=0.95, recognised=0.1)
    assert judge(cropped, LABEL, random_transforms=("RandomResizedCrop",)).severity is Severity.WARNING
    assert judge(cropped, LABEL).severity is Severity.NOTE


def test_a_collate_function_that_draws_is_named_at_the_loader():
    verdict = judge(PICTURE, LABEL, by_collate=True)
    assert (verdict.severity, verdict.location) == (Severity.WARNING, LOADER)
    assert "collate" in verdict.fix.summary


def test_a_hook_that_augments_what_validation_gets_is_told_at_its_line():
    line = Location("train.py", 56)
    erased = leaf("input", "image", (1, 3, 32, 32), varied=32, change=0.9, recognised=0.1)
    verdict = judge(erased, LABEL, by_hook="on_after_batch_transfer", hook_where=line, random_transforms=("RandomErasing",))
    assert (verdict.severity, verdict.location) == (Severity.WARNING, line)
    assert "by on_after_batch_transfer (RandomErasing)" in verdict.message
    assert judge(erased, LABEL, by_hook="on_after_batch_transfer", hook_where=line).severity is Severity.WARNING


def test_swapped_transforms_are_told():
    assert "swapped" in judge(PICTURE, LABEL, training_varies=False).fix.summary


def test_warns_of_labels_that_vary_while_inputs_stay():
    verdict = judge(leaf("input", "table", (1, 8)), leaf("target", "labels", (1,), varied=20, change=1.0))
    assert verdict.severity is Severity.WARNING
    assert "20 of 32" in verdict.message


@pytest.mark.parametrize(
    "leaves",
    [
        (leaf("input", "tokens", (1, 64), varied=32, change=0.1), leaf("target", "mask", (1, 64), varied=32)),  # masked language model
        (leaf("input", "tokens", (1, 64), varied=32, change=0.1), leaf("target", "mask", (1, 64))),  # denoising text
        (leaf("input", "image", (1, 1, 28, 28), varied=32), leaf("target", "image", (1, 1, 28, 28))),  # denoising pictures
        (leaf("input", "tensor", (1, 100), varied=32, change=1.0, recognised=0.0),),  # a generator's noise
        (PICTURE, leaf("other", "labels", (1,))),  # contrastive views, labels unused
        (leaf("input", "sequence", (1, 80, 40), varied=32, change=0.003), LABEL),  # dither
        (leaf("input", "image", (1, 3, 8, 8)), leaf("other", "tensor", (1, 4), varied=32), LABEL),  # unused noise
    ],
)
def test_passes_randomness_that_is_the_task(leaves: tuple[Repeat, ...]):
    assert judge(*leaves).kind == "pass"


@pytest.mark.parametrize(
    "leaves",
    [
        (
            leaf("input", "tokens", (1, 64), varied=32, change=1.0, recognised=0.0),
            leaf("target", "labels", (1,), varied=20),
        ),  # windows drawn
        (leaf("input", "image", (1, 3, 64, 64), varied=32), leaf("target", "image", (1, 3, 64, 64), varied=32)),  # super-resolution crops
        (PICTURE, PICTURE, LABEL),  # views
        (leaf("input", "table", (1, 8), varied=32, change=1.0, recognised=0.0), LABEL),  # a simulator
    ],
)
def test_notes_samples_that_are_drawn_anew(leaves: tuple[Repeat, ...]):
    assert judge(*leaves).severity is Severity.NOTE


def test_data_that_is_changed_in_place_is_named_at_the_line_that_does_it():
    line = Location("train.py", 18)
    verdict = judge(PICTURE, LABEL, changed_where=line)
    assert (verdict.severity, verdict.location) == (Severity.WARNING, line)
    assert "in place" in verdict.message
    assert "random" not in verdict.message


def test_warns_of_training_data_that_wears():
    line = Location("data.py", 26)
    verdict = EvalAugment().judge(Repeats(worn=Overwritten(phase="train", sample=7, read=7, change=0.3, where=line)))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, line)
    assert "sample 7 has changed by 30%" in verdict.message
    assert verdict.fix.edit.kind == "not-in-place"


def test_masks_that_pile_up_are_named_at_the_line_that_writes_them():
    line = Location("train.py", 9, "x[a:b] = 0")
    verdict = EvalAugment().judge(Repeats(worn=Overwritten(phase="train", sample=7, read=7, change=0.3, masked=True, where=line)))
    assert verdict.severity == "warning"
    assert verdict.location == line
    assert "pile up" in verdict.message
