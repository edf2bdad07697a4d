from __future__ import annotations

from dataclasses import replace

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import GivenAway, Labels, Lesson, MirroredPictures, Mismatch, Repair, ShiftedTags, Signal, TokensAhead
from trainlint.rule import Verdict
from trainlint_rules.label_signal import LabelSignal

DATA = Location("train.py", 31)
CLEAR = Signal(
    phase="train", kind="classes", samples=1000, total=5000, score=0.9, chance=0.0, z=40.0, p=0.0, accuracy=0.95, classes=10, nearest=0.6
)
NOTHING = replace(CLEAR, score=0.01, z=0.4, p=0.34, accuracy=0.1)
REPAIR = Repair(name="labels moved by +1", score=0.88, z=39.0)
MISMATCH = Mismatch(
    other="the validation data", samples=1000, other_score=0.9, score=0.01, z=0.3, expected_z=30.0, own_z=0.4, confidence=1.0
)


def judge(*signals: Signal) -> Verdict:
    return LabelSignal().judge(Labels(signals=signals, where={"train": DATA}, reasons={} if signals else {"train": "no labels"}))


def test_passes_when_labels_are_predicted_from_inputs():
    verdict = judge(CLEAR)
    assert verdict.kind == "pass"
    assert "0.90" in verdict.message


def test_errs_when_labels_fit_another_pairing():
    verdict = judge(replace(NOTHING, repair=REPAIR))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.ERROR, DATA)
    assert "labels moved by +1" in verdict.message
    assert verdict.details[0].labels == ("training", "labels moved by +1")


def test_a_weak_better_pairing_proves_nothing():
    assert judge(replace(NOTHING, repair=replace(REPAIR, z=4.0))).kind == "not-run"


def test_an_alphabetic_order_is_made_a_numeric_one():
    assert judge(replace(NOTHING, repair=REPAIR)).fix.edit is None
    numeric = replace(REPAIR, name="numbered inputs in numeric instead of alphabetic order")
    assert judge(replace(NOTHING, repair=numeric)).fix.edit.kind == "natural-order"


def test_a_fitting_pairing_is_no_fault_where_labels_fit_as_they_are():
    assert judge(replace(CLEAR, repair=REPAIR)).kind == "pass"


def test_errs_when_the_other_part_knows_better():
    verdict = judge(replace(NOTHING, mismatch=MISMATCH), replace(CLEAR, phase="val"))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.ERROR)
    assert "the validation data" in verdict.message


def test_random_augmentation_makes_a_mismatch_a_warning():
    assert judge(replace(NOTHING, mismatch=MISMATCH, random=True)).severity is Severity.WARNING


def test_other_inputs_than_the_probe_knows_prove_nothing():
    for change in ({"confidence": 0.3}, {"confidence": 3.0}, {"expected_z": 4.0}, {"own_z": 5.0}, {"z": 3.0}):
        assert judge(replace(NOTHING, mismatch=replace(MISMATCH, **change))).kind == "not-run", change


def test_names_the_stretch_of_a_dataset_that_was_joined_wrongly():
    stretch = replace(MISMATCH, other="the other samples", samples=200, first=400, last=599)
    verdict = judge(replace(CLEAR, mismatch=stretch))
    assert verdict.severity is Severity.ERROR
    assert "400 to 599" in verdict.message


def test_hard_data_are_not_judged():
    assert judge(NOTHING).kind == "not-run"
    assert judge(replace(NOTHING, close_pairs=20, close_agree=0.1, close_chance=0.1)).kind == "not-run"
    assert judge(replace(NOTHING, samples=200, close_pairs=150, close_agree=0.1, close_chance=0.1)).kind == "not-run"


def test_warns_when_near_twins_agree_by_chance_only():
    verdict = judge(replace(NOTHING, close_pairs=400, close_agree=0.1, close_chance=0.1))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert judge(replace(NOTHING, close_pairs=400, close_agree=0.9, close_chance=0.1)).kind == "not-run"


def test_warns_when_pictures_are_alike_and_labels_are_not():
    assert judge(replace(NOTHING, pictures=True, nearest=0.42)).severity is Severity.WARNING
    assert judge(replace(NOTHING, pictures=True, nearest=0.77)).kind == "not-run"


def test_errs_when_masks_lie_on_their_picture_only_when_turned():
    masks = Signal(phase="train", kind="masks", samples=200, total=240, score=0.13, chance=0.0, z=10.0, p=0.0)
    turned = Repair(name="masks mirrored", score=0.95, z=60.0, share=0.5)
    assert judge(replace(masks, repair=turned)).severity is Severity.ERROR
    assert judge(replace(masks, repair=turned)).fix.edit is None
    assert judge(replace(masks, repair=replace(turned, stackable=True))).fix.edit.kind == "draw-once"
    assert judge(replace(masks, repair=replace(turned, share=0.1))).kind == "pass"
    assert judge(replace(masks, repair=replace(turned, z=3.0))).kind == "pass"


def test_says_why_nothing_could_be_read():
    assert judge().message == "no labels"


def test_warns_of_labels_that_augmentation_drowns():
    augmented, val = replace(NOTHING, random=True), replace(CLEAR, phase="val")
    verdict = judge(augmented, val)
    assert verdict.severity is Severity.WARNING
    assert "augmentation" in verdict.message
    for change in ({"random": False}, {"z": 3.0}, {"samples": 100}):
        assert judge(replace(augmented, **change), val).severity is not Severity.WARNING, change


def lesson(**changes: object) -> Verdict:
    learned = Lesson(steps=200, learned=256, held_out=180, left=0.4, by_heart=True, z=0.5)
    return LabelSignal().judge(Labels(signals=(NOTHING,), where={"train": DATA}, lesson=replace(learned, **changes)))


def test_warns_when_the_model_itself_learns_by_heart_only():
    verdict = lesson()
    assert (verdict.severity, verdict.location) == (Severity.WARNING, DATA)
    assert "by heart" in verdict.message


def test_a_join_by_index_is_told_instead_of_the_labels():
    learned = Lesson(steps=200, learned=256, held_out=180, left=0.4, by_heart=True, z=0.5)
    joins = Location("train.py", 7)
    verdict = LabelSignal().judge(Labels(signals=(NOTHING,), where={"train": DATA}, joined={"train": joins}, lesson=learned))
    assert verdict.location == joins
    assert verdict.fix is not None
    assert "index" in verdict.fix.summary


def test_passes_what_the_model_itself_can_learn():
    assert lesson(z=6.0).kind == "pass"


def test_cannot_tell_when_the_model_fitted_nothing_or_little():
    for change in ({"by_heart": False}, {"z": 3.0}, {"learned": 50}):
        assert lesson(**change).kind == "not-run", change


def test_a_relation_between_inputs_may_take_more_samples_than_were_learned():
    verdict = lesson(relational=True)
    assert verdict.kind == "not-run"
    assert "5,000 samples" in verdict.message
    assert lesson(relational=True, learned=2_500).severity is Severity.WARNING


def test_the_sentences_of_an_absent_signal_are_whole_and_their_numbers_match():
    verdict = judge(replace(NOTHING, pictures=True, nearest=0.42))
    assert verdict.message == (
        "No relation between labels and inputs is found in 1,000 training samples (p = 0.34), although their pictures look alike enough "
        "to learn from."
    )
    assert (verdict.evidence["measured"], verdict.evidence["threshold"]) == (0.4, 2.33)
    assert "standard deviations" in verdict.evidence["expected"]
    assert "table" not in verdict.fix.code
    twins = judge(replace(NOTHING, close_pairs=400, close_agree=0.1, close_chance=0.1))
    assert twins.message.endswith(": 400 of them have a near twin, whose label agrees with theirs no more often than any other (10%).")


def test_points_at_the_line_that_reorders_only_one_of_inputs_and_labels():
    shuffled = Location("train.py", 12)
    signals = (replace(NOTHING, repair=REPAIR),)
    verdict = LabelSignal().judge(Labels(signals=signals, where={"train": DATA}, reordered={"train": shuffled}))
    assert verdict.location == shuffled
    absent = replace(NOTHING, pictures=True, nearest=0.42)
    told = LabelSignal().judge(Labels(signals=(absent,), where={"train": DATA}, reordered={"train": shuffled}))
    assert told.fix.summary.startswith("This line gives another order to inputs alone")


def test_warns_of_a_target_that_stands_in_its_input():
    line = Location("data.py", 21)
    verdict = LabelSignal().judge(Labels(given_away=GivenAway(path="[0]", at=(23, 0), shape=(24, 1), samples=800, where=line)))
    assert (verdict.severity, verdict.location) == (Severity.WARNING, line)
    assert "[23, 0]" in verdict.message


def test_errs_when_tags_belong_to_the_token_beside_theirs():
    tags = ShiftedTags(phase="train", shift=-1, accuracy=0.92, own_accuracy=0.15, base=0.2, z=50.0, sequences=300, places=4000, where=DATA)
    verdict = LabelSignal().judge(Labels(shifted=tags))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.ERROR, DATA)
    assert "belongs to the token before its own" in verdict.message
    assert "tags hold 1 more at the front than the tokens" in verdict.fix.summary
    verdict = LabelSignal().judge(Labels(shifted=replace(tags, shift=2)))
    assert "the token 2 places after its own" in verdict.message
    assert "tokens hold 2 more at the front than the tags" in verdict.fix.summary


def test_errs_when_places_stay_behind_mirrored_pictures():
    pictures = MirroredPictures(kind="boxes", way="mirrored", mirrored=11, stayed=10, where=DATA)
    verdict = LabelSignal().judge(Labels(mirrored=pictures))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.ERROR, DATA)
    assert "its boxes stay where they were: so in 10 of the 11 pictures" in verdict.message
    assert "boxes[..., [0, 2]] = width - boxes[..., [2, 0]]" in verdict.fix.code
    verdict = LabelSignal().judge(Labels(mirrored=replace(pictures, kind="points", way="upside down")))
    assert "points[..., 1] = height - 1 - points[..., 1]" in verdict.fix.code


def test_errs_when_targets_are_shifted_twice_and_warns_of_one_wide_shift():
    verdict = LabelSignal().judge(Labels(ahead=TokensAhead(ahead=2, in_data=1, moves=2, where=DATA)))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.ERROR, DATA)
    assert "the token after the next" in verdict.message
    assert "labels that are the input's own tokens" in verdict.fix.summary
    verdict = LabelSignal().judge(Labels(ahead=TokensAhead(ahead=3, where=DATA)))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert "the token 3 places on" in verdict.message
    assert "Ignore this where that is the task." in verdict.message
