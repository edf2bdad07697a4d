from __future__ import annotations

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Event, Loop, Parameters
from trainlint.rule import Verdict
from trainlint_rules.train_mode import TrainMode

TRAIN, EVAL, EPOCH, FORWARD = (Location("train.py", line) for line in (40, 20, 45, 46))
BATCH_NORM = ("BatchNorm2d", "Dropout")


def forward(*, training: bool, phase: str = "train", grad: bool = True) -> Event:
    return Event(kind="forward", phase=phase, where=FORWARD, info={"training": training, "grad": grad})


STEP, EPOCH_EVENT = Event(kind="step"), Event(kind="epoch", phase="train", where=EPOCH)
TRAIN_EVENT, EVAL_EVENT = Event(kind="train", where=TRAIN), Event(kind="eval", where=EVAL)


def judge(*, pretrained: bool = False, **facts: object) -> Verdict:
    loop = {"train_forwards": 6, "mode_dependent": BATCH_NORM, "eval_mode_where": FORWARD, "eval_set_where": EVAL}
    return TrainMode().judge(Loop(**{**loop, **facts}), Parameters(pretrained=pretrained))


def stuck(*switches: Event) -> tuple[Event, ...]:
    """An epoch in training mode, a validation pass, an epoch in evaluation mode."""
    healthy = (EPOCH_EVENT, forward(training=True), STEP)
    validation = (EVAL_EVENT, forward(training=False, phase="val", grad=False))
    return (*switches, *healthy, *validation, EPOCH_EVENT, forward(training=False), STEP)


def test_passes_when_all_forwards_ran_in_training_mode():
    assert judge().kind == "pass"


def test_errs_when_validation_leaves_the_model_in_evaluation_mode():
    verdict = judge(eval_mode_forwards=3, eval_mode_epoch=2, eval_mode_modules=("BatchNorm2d",), events=stuck(TRAIN_EVENT))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.ERROR)
    assert verdict.message.startswith("From epoch 2 on every training forward")
    assert "BatchNorm2d does not" in verdict.message


def test_points_at_the_train_call_that_is_made_only_once():
    assert judge(eval_mode_forwards=3, eval_mode_epoch=2, events=stuck(TRAIN_EVENT)).location == TRAIN


def test_points_at_the_training_loop_when_train_is_never_called():
    assert judge(eval_mode_forwards=3, eval_mode_epoch=2, events=stuck()).location == EPOCH


def test_points_at_eval_when_train_is_called_each_epoch_but_not_after_a_check_within_it():
    assert judge(eval_mode_forwards=3, eval_mode_epoch=1, events=stuck(TRAIN_EVENT, TRAIN_EVENT)).location == EVAL


def test_errs_when_batch_norm_never_trains_from_scratch():
    assert judge(eval_mode_forwards=6, eval_mode_epoch=1, eval_mode_modules=("BatchNorm2d",)).severity is Severity.ERROR


def test_dropout_that_is_off_in_every_step_is_a_warning():
    assert judge(eval_mode_forwards=6, eval_mode_epoch=1, mode_dependent=("Dropout",)).severity is Severity.WARNING


def test_fine_tuning_wholly_in_evaluation_mode_is_a_warning():
    assert judge(eval_mode_forwards=6, eval_mode_epoch=1, pretrained=True).severity is Severity.WARNING


def test_a_frozen_backbone_in_evaluation_mode_passes():
    assert judge(eval_mode_modules=("BatchNorm2d",), frozen_eval=True, pretrained=True).kind == "pass"


def test_batch_norm_of_a_fine_tuned_model_may_stay_in_evaluation_mode():
    assert judge(eval_mode_modules=("BatchNorm2d",), pretrained=True).kind == "pass"


def test_dropout_of_a_loaded_part_that_stays_off_is_a_warning():
    verdict = judge(eval_mode_modules=("Dropout",), pretrained=True, eval_set_where=None)
    assert verdict.severity is Severity.WARNING
    assert verdict.location == FORWARD


def test_an_attack_in_evaluation_mode_before_each_step_passes():
    events = (forward(training=False), forward(training=False), forward(training=True), STEP) * 3
    assert judge(train_forwards=9, eval_mode_forwards=6, eval_mode_epoch=1, events=events).kind == "pass"


def test_a_model_without_such_layers_may_train_in_either_mode():
    assert judge(eval_mode_forwards=6, mode_dependent=()).kind == "pass"


def test_a_policy_that_acts_in_evaluation_mode_passes():
    acting = (forward(training=False, phase="", grad=False), forward(training=True), STEP)
    assert judge(events=acting).kind == "pass"


def test_is_not_run_without_a_training_forward():
    assert judge(train_forwards=0).kind == "not-run"
