from __future__ import annotations

import math

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Event, Loop, Optimizers, SchedulerInfo, Step
from trainlint_rules.schedule_cadence import ScheduleCadence

BUILT = Location("train.py", 17)
HEAD = Location("train.py", 21, "fit", "for x, y in loader:")
INSIDE = Location("train.py", 25, "fit", "optimizer.step()")
COSINE = tuple(0.05 * (1 + math.cos(math.pi * i / 100)) for i in range(101))
CYCLE = tuple(4e-5 + (1e-3 - 4e-5) * i / 30 for i in range(30)) + tuple(1e-3 * (1 - i / 70) for i in range(70))


def scheduler(kind: str, cadence: str, horizon: int | None = None, preview: tuple[float, ...] = COSINE, **facts: object) -> SchedulerInfo:
    facts = {"calls": 0 if cadence == "never" else 5, "optimizer": 0, "where": BUILT, **facts}
    return SchedulerInfo(kind=kind, cadence=cadence, horizon=horizon, preview=preview, **facts)


def judge(
    *schedulers: SchedulerInfo, epochs: int | None = None, steps: int | None = 100, begun: int = 2, head: Location = HEAD, **facts: object
):
    loop = Loop(
        epochs_begun=begun,
        has_loader=begun > 0,
        steps=(Step(optimizer=0, where=INSIDE),) * 4,
        events=(Event(kind="epoch", where=head),),
        **facts,
    )
    return ScheduleCadence().judge(Optimizers(schedulers=schedulers, epochs=epochs, steps_per_epoch=steps), loop)


def test_passes_schedules_in_their_own_unit():
    assert judge(scheduler("CosineAnnealingLR", "epoch", 30), epochs=30).kind == "pass"
    assert judge(scheduler("OneCycleLR", "step", 3000, CYCLE), epochs=30).kind == "pass"
    assert judge(scheduler("OneCycleLR", "epoch", 30, CYCLE), epochs=30).kind == "pass"


def test_fails_when_one_cycle_never_leaves_its_warm_up():
    verdict = judge(scheduler("OneCycleLR", "epoch", 3000, CYCLE), epochs=30)
    assert verdict.severity is Severity.ERROR
    assert verdict.location == BUILT
    assert "built for 3,000 steps" in verdict.message


def test_warns_when_the_number_of_epochs_is_not_known():
    assert judge(scheduler("OneCycleLR", "epoch", 3000, CYCLE)).severity is Severity.WARNING
    assert judge(scheduler("CosineAnnealingLR", "epoch", 3000)).severity is Severity.WARNING


def test_warns_when_a_cosine_in_steps_is_stepped_once_an_epoch():
    assert judge(scheduler("CosineAnnealingLR", "epoch", 3000), epochs=30).severity is Severity.WARNING


def test_warns_when_a_cosine_in_epochs_swings_every_few_batches():
    verdict = judge(scheduler("CosineAnnealingLR", "step", 30), epochs=30)
    assert verdict.severity is Severity.WARNING
    assert "every 30 steps" in verdict.message
    assert judge(scheduler("CosineAnnealingLR", "step", 30)).severity is Severity.WARNING


@pytest.mark.parametrize(
    "head", [Location("train.py", 21, "fit", "batches = iter(loader)"), Location("data.py", 4, "forever", "for batch in loader:")]
)
def test_only_notes_a_schedule_in_a_loop_that_counts_steps(head: Location):
    verdict = judge(scheduler("CosineAnnealingLR", "step", 30), epochs=30, head=head)
    assert verdict.severity is Severity.NOTE
    assert judge(scheduler("CosineAnnealingLR", "step", 200), epochs=200, head=head).kind == "pass"


def test_only_notes_a_schedule_that_may_be_all_of_a_short_run():
    assert judge(scheduler("CosineAnnealingLR", "step", 30), begun=1).severity is Severity.NOTE


def test_a_trainer_that_knows_its_epochs_is_a_loop_over_epochs():
    fit = Location("train.py", 40, "", "trainer.fit(model, train_loader)")
    built = scheduler("CosineAnnealingLR", "step", 30, stepped_where=fit)
    verdict = judge(built, epochs=30, head=fit)
    assert (verdict.severity, verdict.location) == (Severity.WARNING, BUILT)
    assert judge(built, head=fit).severity is Severity.NOTE


def test_fails_when_milestones_in_epochs_are_over_within_the_first():
    steps = (0.1,) * 30 + (0.01,) * 30 + (1e-3,) * 20 + (1e-4,)
    verdict = judge(scheduler("MultiStepLR", "step", 80, steps), epochs=90)
    assert verdict.severity is Severity.ERROR


def test_warns_when_an_exponential_decay_counts_batches():
    decay = scheduler("ExponentialLR", "step", None, (), options={"gamma": 0.9})
    verdict = judge(decay)
    assert verdict.severity is Severity.WARNING
    assert "within the first epoch" in verdict.message
    assert judge(decay, epochs=20).severity is Severity.ERROR
    assert judge(scheduler("ExponentialLR", "step", None, (), options={"gamma": 0.9999})).kind == "pass"


def test_warns_of_a_schedule_that_is_never_stepped():
    assert judge(scheduler("CosineAnnealingLR", "never", 30)).severity is Severity.WARNING


def test_fails_when_the_warm_up_is_never_stepped():
    verdict = judge(scheduler("OneCycleLR", "never", 3000, CYCLE))
    assert verdict.severity is Severity.ERROR
    assert "never reaches 0.001" in verdict.message


def test_does_not_judge_before_an_epoch_went_by():
    assert judge(scheduler("CosineAnnealingLR", "never", 30), begun=1).kind == "not-run"
    assert judge(scheduler("CosineAnnealingLR", "never", 30), begun=0).kind == "not-run"


def test_fails_when_a_trainer_is_not_given_the_schedule_or_its_method_does_not_step_it():
    verdict = judge(scheduler("OneCycleLR", "never", 30, CYCLE), closure=True)
    assert verdict.severity is Severity.ERROR
    assert "return [optimizer]" in verdict.fix.code
    verdict = judge(scheduler("CosineLRScheduler", "never", 30, CYCLE, unit="epochs", stepped_where=BUILT), closure=True)
    assert verdict.location == BUILT
    assert "lr_scheduler_step" in verdict.fix.code


def test_leaves_it_to_a_trainer_when_to_step():
    assert judge(scheduler("OneCycleLR", "never", 30, CYCLE, sometimes=True), closure=True).kind == "not-run"


def test_passes_schedules_inside_or_beside_others():
    inner = scheduler("CosineAnnealingLR", "never", 90)
    assert judge(scheduler("LinearLR", "epoch", 5, (0.01, 0.1)), inner, scheduler("SequentialLR", "epoch"), epochs=100).kind == "pass"


def test_does_not_judge_a_schedule_that_begins_or_ends_within_the_run():
    assert judge(scheduler("CosineAnnealingLR", "never", 30, sometimes=True)).kind == "not-run"
    assert judge(scheduler("CosineAnnealingLR", "epoch", 50, sometimes=True), epochs=75).kind == "pass"


def test_passes_weight_averaging_that_starts_late():
    assert judge(scheduler("SWALR", "never", preview=())).kind == "not-run"


def test_passes_a_warm_up_that_is_short_on_purpose():
    assert judge(scheduler("LinearLR", "step", 20, (1e-5, 1e-4, 1e-3)), epochs=30).kind == "pass"


def test_passes_restarts_that_are_counted_in_fractions_of_epochs():
    assert judge(scheduler("CosineAnnealingWarmRestarts", "step", 10), epochs=30).kind == "pass"


def test_passes_cycles_shorter_than_the_run():
    assert judge(scheduler("CyclicLR", "step", None, ()), epochs=30).kind == "pass"


def test_passes_a_run_cut_short_for_a_test():
    assert judge(scheduler("CosineAnnealingLR", "epoch", 200), epochs=3).kind == "pass"
    assert judge(scheduler("OneCycleLR", "step", 3000, CYCLE), epochs=1).kind == "pass"


def test_passes_an_epoch_schedule_whose_length_happens_to_be_a_multiple():
    assert judge(scheduler("CosineAnnealingLR", "epoch", 200), steps=25).kind == "pass"


def test_passes_tiny_epochs():
    assert judge(scheduler("CosineAnnealingLR", "step", 500), steps=1).kind == "pass"


def test_warns_when_the_cosine_climbs_back():
    verdict = judge(scheduler("CosineAnnealingLR", "epoch", 50), epochs=100)
    assert verdict.severity is Severity.WARNING
    assert "100%" in verdict.message
    assert judge(scheduler("CosineAnnealingLR", "epoch", 20), epochs=100).kind == "pass"


def test_warns_when_accumulation_shortens_the_course():
    verdict = judge(scheduler("OneCycleLR", "step", 12_000, CYCLE), epochs=30, accumulation=4)
    assert verdict.severity is Severity.WARNING
    assert "1/4" in verdict.message


@pytest.mark.parametrize(("mode", "rises"), [("min", True), ("max", False)])
def test_warns_when_plateau_looks_the_wrong_way(mode: str, rises: bool):
    plateau = scheduler("ReduceLROnPlateau", "epoch", None, (), mode=mode, metric_rises=rises, metric=(0.71, 0.82))
    assert judge(plateau).severity is Severity.WARNING


@pytest.mark.parametrize(("mode", "rises"), [("min", False), ("max", True), ("min", None), ("", False)])
def test_passes_plateau_in_the_right_or_an_unknown_direction(mode: str, rises: bool | None):
    assert judge(scheduler("ReduceLROnPlateau", "epoch", None, (), mode=mode, metric_rises=rises)).kind == "pass"


def test_does_not_judge_an_unknown_cadence_or_no_scheduler():
    assert judge(scheduler("LambdaLR", "unknown", None)).kind == "not-run"
    assert judge().kind == "not-run"


def test_errs_when_the_schedule_belongs_to_an_optimizer_that_was_replaced():
    verdict = judge(scheduler("LambdaLR", "step", None, CYCLE, orphaned=True), epochs=30)
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.ERROR, BUILT)
    assert "takes no step" in verdict.message


def test_passes_over_a_schedule_that_was_replaced_with_its_optimizer():
    old, new = scheduler("LambdaLR", "never", None, CYCLE, orphaned=True), scheduler("LambdaLR", "step", None, CYCLE, optimizer=1)
    assert judge(old, new, epochs=30).kind == "pass"


@pytest.mark.parametrize(
    ("reached", "epochs", "severity"), [(4e-5, 6, Severity.ERROR), (4e-5, 1, Severity.WARNING), (4e-4, 6, Severity.WARNING)]
)
def test_a_warm_up_longer_than_the_run(reached, epochs, severity):
    verdict = judge(scheduler("LambdaLR", "step", None, CYCLE, peak=1e-3, reached=reached), epochs=epochs)
    assert (verdict.kind, verdict.severity) == ("fail", severity)
    assert "does not get beyond" in verdict.message


def test_a_warm_up_that_ends_within_the_run_passes():
    assert judge(scheduler("LambdaLR", "step", None, CYCLE, peak=1e-3, reached=1e-3), epochs=6).kind == "pass"


def by_hand(factor: float, epochs: int | None = 8, steps: int = 22):
    seen = tuple(Step(optimizer=0, where=INSIDE, lr=(0.02 * factor**i,)) for i in range(8))
    loop = Loop(epochs_begun=2, has_loader=True, steps=seen, events=(Event(kind="epoch", where=HEAD),))
    return ScheduleCadence().judge(Optimizers(epochs=epochs, steps_per_epoch=steps, rate_where=BUILT), loop)


def test_fails_when_a_rate_set_by_hand_is_gone_early():
    assert (by_hand(0.9).severity, by_hand(0.9).location) == (Severity.WARNING, BUILT)
    assert by_hand(0.5).severity is Severity.ERROR
    assert "multiplied by 0.9 at each step" in by_hand(0.9).message


@pytest.mark.parametrize("factor", [1.0, 0.999, 1.2])
def test_does_not_judge_a_rate_that_stays_fades_slowly_or_is_searched_for(factor):
    assert by_hand(factor).kind == "not-run"


RUN = Location("train.py", 40, "main", "trainer.run(loader, max_epochs=16)")
ATTACHED = Location("train.py", 30, "main", "trainer.add_event_handler(Events.ITERATION_STARTED, scheduler)")
LINES = (0.0, 0.05, 0.02, 0.0)


def attached(kind: str, cadence: str, horizon: int | None, preview: tuple[float, ...] = LINES, *, epochs: int = 16, **facts: object):
    return judge(scheduler(kind, cadence, horizon, preview, attached=True, stepped_where=ATTACHED, **facts), epochs=epochs, head=RUN)


def test_fails_when_milestones_in_epochs_are_attached_to_each_iteration():
    verdict = attached("PiecewiseLinear", "step", 16)
    assert (verdict.severity, verdict.location) == (Severity.ERROR, ATTACHED)
    assert "ended by then" in verdict.message
    assert verdict.fix.edit.values == {"event": "EPOCH_STARTED"}


def test_warns_when_milestones_in_iterations_are_attached_to_each_epoch():
    verdict = attached("PiecewiseLinear", "epoch", 1600)
    assert (verdict.severity, verdict.location) == (Severity.WARNING, ATTACHED)
    assert verdict.fix.edit.values == {"event": "ITERATION_STARTED"}


def test_warns_when_one_cycle_of_the_run_comes_every_few_iterations():
    assert "every 16 steps" in attached("CosineAnnealingScheduler", "step", 16, LINES[1:]).message
    assert "every 16 steps" in attached("LinearCyclicalScheduler", "step", 16, (0.05, 0.0, 0.05)).message


def test_passes_attached_schedules_in_their_own_unit():
    assert attached("PiecewiseLinear", "step", 1600).kind == "pass"
    assert attached("PiecewiseLinear", "epoch", 16).kind == "pass"
    assert attached("PiecewiseLinear", "step", 20, (0.0, 0.05)).kind == "pass"  # a warm-up
    assert attached("PiecewiseLinear", "step", 400).kind == "pass"
    assert attached("CosineAnnealingScheduler", "step", 100).kind == "pass"  # a cycle an epoch
    assert attached("LinearCyclicalScheduler", "step", 8, (0.05, 0.0, 0.05)).kind == "pass"
    assert attached("CosineAnnealingScheduler", "step", 2, epochs=2).kind == "pass"
