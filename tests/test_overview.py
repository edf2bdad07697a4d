from __future__ import annotations

from dataclasses import replace

import pytest

from trainlint.details import Timeline, TimelineEvent
from trainlint.evidence import Evidence
from trainlint.finding import Finding, Fix, Outcome, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import Activation, Activations, Event, LearningRate, Loop, Measurement, Optimizers, SchedulerInfo
from trainlint.overview import overview


def seen(*measurements: Measurement) -> Evidence:
    evidence = Evidence()
    evidence.measurements = {m.name: m for m in measurements}
    return evidence


def event(kind: str, line: int = 1, **info: bool) -> Event:
    return Event(kind=kind, where=Location("train.py", line), info=dict(info))


def loop(evidence: Evidence, *findings: Finding) -> Timeline:
    return next(d for d in overview(evidence, findings) if isinstance(d, Timeline))


def test_what_a_rule_calls_wrong_is_marked_in_the_picture_of_the_loop() -> None:
    wrong = Timeline(title="t", events=(TimelineEvent(kind="clear", label="Adam", file="train.py", line=3, flagged=True),))
    finding = Finding(
        code="TL306", name="loop-order", stage=Stage.GRADIENTS, outcome=Outcome.FAIL, severity=Severity.ERROR, message="m",
        fix=Fix(summary="s", code=""), details=(wrong,),
    )  # fmt: skip
    evidence = seen(Loop(events=(event("backward", 2), event("clear", 3), event("step", 4), event("clear", 9))))
    assert [e.line for e in loop(evidence, finding).events if e.flagged] == [3]
    assert not any(e.flagged for e in loop(evidence).events)
    once = replace(wrong, events=(replace(wrong.events[0], flagged=False), *wrong.events))
    later = seen(Loop(events=tuple(event("clear", 3) for _ in range(4))))
    assert [e.flagged for e in loop(later, replace(finding, details=(once,))).events] == [False, True, True, True]


def test_a_mode_that_is_set_back_without_train_is_told_before_the_batch() -> None:
    events = (event("eval"), event("batch"), event("forward", training=False), event("batch"), event("forward", training=True))
    assert [e.kind for e in loop(seen(Loop(events=events))).events] == ["eval", "batch", "forward", "mode", "batch", "forward"]
    called = (event("eval"), event("train"), event("batch"), event("forward", training=True))
    assert "mode" not in [e.kind for e in loop(seen(Loop(events=called))).events]


@pytest.mark.parametrize(("cut", "title"), [(False, "Learning rate over the whole schedule"), (True, "Learning rate over the first 100 optimizer steps of the schedule")])  # fmt: skip
def test_a_schedule_says_how_much_of_it_is_drawn(cut: bool, title: str) -> None:
    scheduler = SchedulerInfo(kind="LambdaLR", cadence="step", preview=(0.1, 0.05), preview_calls=100, preview_cut=cut)
    (shown,) = overview(seen(Optimizers(schedulers=(scheduler,))))
    assert shown.title == title
    assert shown.lines[0].x == (0.0, 50.0)


@pytest.mark.parametrize(
    ("scheduled", "loader", "length"), [(True, True, None), (False, True, "epochs * len(train_loader)"), (False, False, "total_steps,")]
)
def test_one_cycle_is_offered_only_to_a_script_without_a_schedule(scheduled: bool, loader: bool, length: str | None) -> None:
    rates = LearningRate(optimizer="Adam", configured=0.01, initial=1.0, low=0.004, high=0.2, suggestion=0.03, has_loader=loader)
    schedulers = (SchedulerInfo(kind="StepLR"),) if scheduled else ()
    codes = [d.text for d in overview(seen(rates, Optimizers(schedulers=schedulers))) if d.type == "code"]
    assert bool(codes) is not scheduled
    assert length is None or length in codes[0]


def test_layers_of_one_name_are_told_apart() -> None:
    def relu(line: int | None) -> Activation:
        return Activation(module="Net", kind="relu", std=1.0, where=None if line is None else Location("train.py", line))

    def named(*lines: int | None) -> tuple[str, ...]:
        return overview(seen(Activations(layers=tuple(map(relu, lines)))))[-1].labels

    assert named(3, 5) == ("Net (relu), line 3", "Net (relu), line 5")
    assert named(3, 3) == ("Net (relu) 1", "Net (relu) 2")
    assert named(None, 4) == ("Net (relu) 1", "Net (relu) 2")
    assert named(3) == ("Net (relu)",)
