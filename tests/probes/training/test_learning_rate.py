"""The band is found from far above and far below it, and the configured rate is always tried itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler as schedules
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import fit, measured, record
from trainlint.measurements import LearningRate, Trial
from trainlint.probes.step.replay import rehearsal
from trainlint.probes.training.learning_rate import measure_learning_rate
from trainlint.probes.training.rate_search import RateSearch

Schedule = Callable[[torch.optim.Optimizer], schedules.LRScheduler]


def rates(lr: float) -> LearningRate:
    torch.manual_seed(0)
    x = torch.randn(256, 8)
    loader = DataLoader(TensorDataset(x, (x[:, :4].sum(1) > 0).long()), 32, shuffle=True)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    recording = record(lambda: fit(model, loader, lambda m, b: F.cross_entropy(m(b[0]), b[1]), optimizer))
    found: LearningRate = measured(measure_learning_rate, recording)
    return found


@pytest.mark.parametrize("lr", [1e-9, 1e-5, 0.3, 300.0])
def test_the_band_is_found_from_wherever_the_search_begins(lr: float) -> None:
    found = rates(lr)
    assert found.low is not None
    assert found.high is not None
    assert 0.01 < found.low < found.high < 50
    assert any(t.lr == lr and t.losses for t in found.trials)


def test_a_rate_that_trains_is_compared_with_lower_and_higher_ones() -> None:
    found = rates(0.3)
    tried = [t.lr for t in found.trials]
    assert min(tried) < 0.3 < max(tried)
    assert not found.open_low
    assert not found.open_high


def resumed(
    saved: float, *, before: Schedule | None = None, after: Schedule | None = None, raised: float | None = None, first_epoch: int = 0
) -> LearningRate | None:
    """The rates of a run that was built with 0.1 and loaded the state of one that ended at ``saved``; None where they were tried."""

    def run() -> None:
        torch.manual_seed(0)
        x = torch.randn(64, 8)
        model = nn.Linear(8, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        schedule = before(optimizer) if before else None
        earlier = torch.optim.SGD(model.parameters(), lr=saved).state_dict()
        earlier["param_groups"][0]["initial_lr"] = 0.1
        optimizer.load_state_dict(earlier)
        for group in optimizer.param_groups if raised else ():
            group.update(lr=raised)
        schedule = after(optimizer) if after else schedule
        loader = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 16)
        for epoch in range(first_epoch, first_epoch + 4):  # noqa: B007 - epochs are counted by it
            for batch in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(batch[0]), batch[1]).backward()
                optimizer.step()
            if schedule is not None:
                schedule.step()

    found: LearningRate = measured(measure_learning_rate, record(run), seconds=1.0)
    return found if found.restored_where is not None else None


def going_on(optimizer: torch.optim.Optimizer) -> schedules.LRScheduler:
    """The schedule of a run that goes on, its own state loaded."""
    found = schedules.StepLR(optimizer, 10)
    found.load_state_dict(found.state_dict() | {"last_epoch": 30})
    return found


def lowering(optimizer: torch.optim.Optimizer) -> schedules.LRScheduler:
    """A schedule that begins anew and multiplies what it finds."""
    return schedules.CosineAnnealingLR(optimizer, 8)


@pytest.mark.parametrize(
    "schedule",
    [
        {}, {"after": lowering}, {"before": lowering}, {"after": lambda o: schedules.StepLR(o, 2)},
        {"after": lambda o: schedules.ExponentialLR(o, 0.9)}, {"after": lambda o: schedules.MultiStepLR(o, [2, 3])},
    ],
)  # fmt: skip
def test_a_decayed_rate_that_comes_with_a_loaded_state_is_told(schedule: dict[str, Schedule]) -> None:
    found = resumed(1e-4, **schedule)
    assert found is not None
    assert (found.configured, found.first) == (0.1, 1e-4)
    assert "optimizer.load_state_dict(" in found.restored_where.text


@pytest.mark.parametrize(
    "quiet",
    [
        lambda: resumed(0.05), lambda: resumed(1e-4, raised=0.1), lambda: resumed(1e-4, after=going_on),
        lambda: resumed(1e-4, before=lambda o: schedules.LambdaLR(o, lambda epoch: 0.9**epoch)),
        lambda: resumed(1e-4, after=lambda o: schedules.OneCycleLR(o, 0.1, 4)),
        lambda: resumed(1e-4, before=lambda o: schedules.CosineAnnealingWarmRestarts(o, 4)),
        lambda: resumed(1e-4, after=lambda o: schedules.StepLR(o, 10), first_epoch=20),
        lambda: resumed(1e-4, after=lambda o: schedules.StepLR(o, 10, last_epoch=20), first_epoch=20),
        lambda: resumed(1e-4, after=lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 2), schedules.StepLR(o, 3)], [2])),
    ],
)  # fmt: skip
def test_rates_that_are_near_raised_or_go_on_are_tried_as_any_other(quiet) -> None:
    assert quiet() is None


def search(*trials: Trial, firsts: tuple[float, ...] = (1.0, 1.0)) -> RateSearch:
    made = RateSearch(None, list(firsts), 20, 0.0, 0)  # type: ignore[arg-type]
    made.trials = {t.lr: t for t in trials}
    return made


def test_a_rate_that_goes_astray_does_not_train_well_where_a_lower_one_goes_straight() -> None:
    wild, calm = Trial(lr=1.0, losses=(), score=0.1, peak=2.5), Trial(lr=0.1, losses=(), score=0.2, peak=1.0)
    slow = Trial(lr=0.01, losses=(), score=0.95, peak=1.0)
    assert search(slow, calm, wild).band()[1] < 1.0  # type: ignore[operator]
    assert search(slow, wild).progress(1.0) == pytest.approx(0.9), "nothing lower trains, so nothing lower is better"


def test_ends_that_still_train_are_open() -> None:
    good, better, bad = (Trial(lr=lr, losses=(), score=score) for lr, score in ((0.1, 0.3), (1.0, 0.1), (10.0, 1.5)))
    assert search(good, better, bad).open_ends() == (True, False)
    assert search(better, bad).open_ends() == (True, False)
    assert search(bad).open_ends() == (False, False)


@pytest.mark.parametrize(("batches", "steps"), [(1, 4), (2, 4), (3, 6), (8, 8)])
def test_a_score_averages_whole_turns_and_at_least_four_steps(batches: int, steps: int) -> None:
    assert search(firsts=(1.0,) * batches).turn == steps


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_a_trial_takes_the_steps_of_the_optimizer_itself(kind: type[torch.optim.Adam]) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    loader = DataLoader(TensorDataset(torch.randn(64, 4), torch.randint(0, 2, (64,))), 16)
    optimizer = kind(model.parameters(), lr=0.01, weight_decay=0.1)
    recording = record(lambda: fit(model, loader, lambda m, b: F.cross_entropy(m(b[0]), b[1]), optimizer))
    ends = []
    for fused in (True, False):
        with rehearsal(recording, batches=True) as trial:
            own = trial.own_optimizer(0.01)
            own.param_groups[0]["fused"] = fused
            for fill in trial.fills:
                trial.step(own, fill)
            ends.append([p.detach().clone() for p in model.parameters()])
    torch.testing.assert_close(ends[0], ends[1])
