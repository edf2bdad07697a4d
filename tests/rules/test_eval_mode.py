from __future__ import annotations

from trainlint.finding import Edit, Severity
from trainlint.location import Location
from trainlint.measurements import Loop, ParameterInfo, Parameters, ValidationPass
from trainlint.rule import Verdict
from trainlint_rules.eval_mode import EvalMode

CALL, LOOP = Location("train.py", 34), Location("train.py", 33)


def validation(**changes: object) -> ValidationPass:
    return ValidationPass(**{"where": CALL, "loop_where": LOOP, "mode_matters": True, "batches": 2, **changes})


def judge(*passes: ValidationPass, size: int = 50_000, optimizers: int = 1) -> Verdict:
    weight = ParameterInfo(name="w", module="", module_kind="Linear", shape=(size,), size=size, requires_grad=True)
    loop = Loop(validation=passes, stepped_optimizers=optimizers, mode_dependent=("Dropout",))
    return EvalMode().judge(loop, Parameters(parameters=(weight,)))


def test_passes_evaluation_mode_without_gradients():
    assert judge(validation()).kind == "pass"


def test_errs_when_dropout_is_on_in_validation():
    verdict = judge(validation(training_mode=True), validation(training_mode=True))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.ERROR)
    assert "2 of 2" in verdict.message
    assert "Dropout" in verdict.message
    assert verdict.location == LOOP


def test_names_gradients_in_the_same_breath():
    assert "gradients were recorded" in judge(validation(training_mode=True, grad=True)).message


def test_warns_of_gradients_in_a_large_model():
    assert judge(validation(grad=True), size=5_000_000).severity is Severity.WARNING


def test_only_notes_gradients_in_a_small_model():
    assert judge(validation(grad=True)).severity is Severity.NOTE


def test_training_mode_of_layers_that_do_not_care_passes():
    assert judge(validation(training_mode=True, mode_matters=False)).kind == "pass"


def test_an_adversarial_model_may_keep_its_noise():
    assert judge(validation(training_mode=True), optimizers=2).severity is Severity.WARNING


def test_warns_where_no_loader_tells_of_the_pass():
    assert judge(validation(training_mode=True, told_by_calls=True)).severity is Severity.WARNING
    assert judge(validation(training_mode=True, told_by_calls=True), validation(training_mode=True)).severity is Severity.ERROR


def test_is_not_run_without_validation():
    assert judge().kind == "not-run"
    assert judge(validation(batches=0, training_mode=True)).kind == "not-run"


def test_warns_of_dropout_that_does_not_know_the_mode():
    verdict = judge(validation(dropout_where=Location("train.py", 12)))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, Location("train.py", 12))
    assert verdict.fix is not None
    assert verdict.fix.edit == Edit(kind="dropout-flag")


def test_says_nothing_when_no_training_was_recorded():
    assert EvalMode().judge(Loop(validation=(validation(grad=True),)), Parameters()).kind == "not-run"


def test_warns_of_dropout_in_an_evaluation_that_is_still_to_come():
    place = Location("train.py", 12)
    parameters = Parameters(parameters=(ParameterInfo(name="w", module="", module_kind="Linear", shape=(1,), size=1, requires_grad=True),))
    verdict = EvalMode().judge(Loop(dropout_where=place), parameters)
    assert (verdict.severity, verdict.location) == (Severity.WARNING, place)
