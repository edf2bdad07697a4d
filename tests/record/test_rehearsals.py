"""What a script does before it trains, to look at it once, is not taken for the training."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Variable
from training_loops import loaders, record, train

from trainlint.record.recording import Recording


def after(rehearsal, model: nn.Module | None = None) -> Recording:  # type: ignore[no-untyped-def]
    """Recording of a rehearsal, given the training loader, and a sound training after it."""
    train_loader, val_loader = loaders()
    trained = model or nn.Linear(6, 3)

    def script() -> None:
        rehearsal(train_loader)
        train(trained, torch.optim.SGD(trained.parameters(), 0.1), train_loader, val_loader)

    return record(script)


def test_steps_of_an_optimizer_whose_rates_are_looked_at_are_no_training() -> None:
    """A schedule is drawn with an optimizer that never gets a gradient."""

    def preview(_: object) -> None:
        optimizer = torch.optim.Adam(nn.Linear(1, 1).parameters(), lr=1.0)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 5)
        for _ in range(40):
            optimizer.step()
            schedule.step()

    recording = after(preview)
    assert len(recording.training) == 1
    assert recording.backwards
    assert not any(step.without_gradient for step in recording.steps)


def test_a_loop_that_forgets_its_backward_takes_steps_all_the_same() -> None:
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recording = record(lambda: train(model, optimizer, train_loader, val_loader, each=forgetful(model, optimizer)))
    assert recording.steps
    assert all(step.without_gradient for step in recording.steps)


def forgetful(model: nn.Module, optimizer: torch.optim.Optimizer):  # type: ignore[no-untyped-def]
    """A turn of the loop that computes a loss and steps."""

    def each(i: int, x: torch.Tensor, y: torch.Tensor) -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y)
        optimizer.step()

    return each


def test_a_model_whose_gradient_was_shown_and_that_is_thrown_away_is_none_that_trains() -> None:
    thrown_away, kept = nn.Linear(6, 3), nn.Linear(6, 3)

    def show(loader) -> None:  # type: ignore[no-untyped-def]
        x, y = next(iter(loader))
        F.cross_entropy(thrown_away(x), y).backward()

    assert after(show, kept).models() == [kept]


def test_a_model_outside_every_optimizer_that_the_loop_trains_through_is_one() -> None:
    body, head = nn.Linear(6, 6), nn.Linear(6, 3)
    train_loader, val_loader = loaders()
    optimizer = torch.optim.SGD(head.parameters(), 0.1)

    def each(i: int, x: torch.Tensor, y: torch.Tensor) -> None:
        optimizer.zero_grad()
        F.cross_entropy(head(body(x).relu()), y).backward()
        optimizer.step()

    recording = record(lambda: train(head, optimizer, train_loader, val_loader, each=each))
    assert set(recording.models()) == {body, head}


@pytest.mark.parametrize("backward", [True, False])
def test_a_look_at_one_batch_is_no_epoch(backward: bool) -> None:
    """Not even where its gradient was looked at."""
    model = nn.Linear(6, 3)

    def look(loader) -> None:  # type: ignore[no-untyped-def]
        x, y = next(iter(loader))
        loss = F.cross_entropy(model(x), y)
        if backward:
            loss.backward()

    passes = after(look, model).loaders_of("train")[0].iterations
    assert passes[0].batches == 1
    assert passes[0].phase != "train"
    assert [i.phase for i in passes[1:]].count("train") >= 2


def test_a_batch_wrapped_as_old_scripts_do_is_still_known_by_its_loader() -> None:
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def each(i: int, x: torch.Tensor, y: torch.Tensor) -> None:
        x, y = Variable(x), Variable(y)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    recording = record(lambda: train(model, optimizer, train_loader, val_loader, each=each))
    tape = recording.tape
    assert tape is not None
    assert recording.trust == "next step"
    assert len(tape.batch) == 2
    assert "__new__" not in vars(Variable)
    assert Variable(torch.ones(1), requires_grad=True).requires_grad
