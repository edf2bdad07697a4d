from __future__ import annotations

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from probes.recorded import measured, record
from trainlint.measurements import Ema
from trainlint.probes.run.ema import measure_ema

#: Models of other tests may still be alive, so that each test has its own shape.
_WIDTHS = itertools.count(41)


class Shadow:
    """A moving average as tutorials write it: a dict of tensors that is replaced at each update."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: p.detach().clone() for name, p in model.named_parameters()}

    def update(self, model: nn.Module) -> None:
        for name, p in model.named_parameters():
            self.shadow[name] = self.decay * self.shadow[name] + (1 - self.decay) * p.detach()


def facts(follow=None, average=lambda model: None, loop=8, between=lambda width: nn.ReLU()) -> Ema:
    width = next(_WIDTHS)
    torch.manual_seed(0)
    alive = []  # a script's objects are there while it is measured

    def run() -> None:
        model = nn.Sequential(nn.Linear(6, width), between(width), nn.Linear(width, 3))
        kept = average(model)
        alive.append(kept)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(loop):
            loss = F.cross_entropy(model(torch.randn(16, 6)), torch.arange(16) % 3)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if follow is not None:
                follow(kept, model)

    recording = record(run)
    return measured(measure_ema, recording)


@torch.no_grad()
def lerp(average: nn.Module, model: nn.Module, decay: float = 0.99) -> None:
    for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)


def test_the_decay_of_a_deep_copy_is_measured():
    found = facts(lerp, copy.deepcopy).copies
    assert len(found) == 1
    assert found[0].updates >= 3
    assert max(found[0].decays) == pytest.approx(0.99, abs=1e-3)
    assert "lerp_" in found[0].where.text


def test_a_dict_that_is_replaced_is_followed():
    found = facts(Shadow.update, lambda model: Shadow(model, 0.999)).copies
    assert len(found) == 1
    assert (found[0].kind, found[0].declared, found[0].is_average) == ("Shadow", 0.999, True)
    assert max(found[0].decays) == pytest.approx(0.999, abs=1e-4)


def test_averaged_models_say_what_they_are():
    update = AveragedModel.update_parameters
    ema = facts(update, lambda m: AveragedModel(m, multi_avg_fn=get_ema_multi_avg_fn(0.9))).copies[0]
    assert (ema.kind, ema.is_average, ema.equal_weights) == ("AveragedModel", True, False)
    assert max(ema.decays) == pytest.approx(0.9, abs=1e-3)
    assert "AveragedModel" in ema.where.text
    assert facts(update, AveragedModel).copies[0].equal_weights


def test_a_copy_that_stands_still_has_no_updates():
    found = facts(None, copy.deepcopy).copies
    assert [c.updates for c in found] == [0] * len(found)
    assert not any(c.evaluated for c in found)


def test_a_model_that_keeps_no_copy_has_none():
    assert facts().copies == ()


def test_a_copy_that_is_trained_itself_is_none():
    def other(kept, model):
        twin, optimizer = kept
        optimizer.zero_grad()
        F.cross_entropy(twin(torch.randn(16, 6)), torch.arange(16) % 3).backward()
        optimizer.step()

    def twin(model):
        made = copy.deepcopy(model)
        return made, torch.optim.SGD(made.parameters(), lr=0.1)

    assert facts(other, twin).copies == ()


def test_an_update_through_state_dicts_is_seen_at_its_line():
    def follow(kept: nn.Module, model: nn.Module) -> None:
        for mine, theirs in zip(kept.state_dict().values(), model.state_dict().values(), strict=True):
            mine.mul_(0.9).add_(theirs, alpha=0.1)  # update

    found = facts(follow, copy.deepcopy).copies[0]
    assert found.where is not None
    assert found.where.text.endswith("# update")


@torch.no_grad()
def lerp_with_buffers(average: nn.Module, model: nn.Module) -> None:
    lerp(average, model)
    for slow, fast in zip(average.buffers(), model.buffers(), strict=True):
        slow.copy_(fast)


@pytest.mark.parametrize(("follow", "fresh"), [(lerp, 1), (lerp_with_buffers, 0)])
def test_running_statistics_that_a_copy_never_takes_over_are_counted(follow, fresh):
    found = facts(follow, copy.deepcopy, between=nn.BatchNorm1d)
    assert [c.fresh_statistics for c in found.copies] == [fresh]


def test_batch_norms_that_start_anew_are_told_by_momentum():
    found = facts(between=lambda width: nn.BatchNorm1d(width, momentum=0.3))
    assert [(n.momentum, n.layers) for n in found.statistics] == [(0.3, 1)]
    assert facts().statistics == ()


def validated(restore: bool, decay: float = 0.9) -> Ema:
    """Every fourth step the average is put into the model, which is evaluated."""
    steps = itertools.count(1)

    def follow(kept: Shadow, model: nn.Module) -> None:
        kept.update(model)
        if next(steps) % 4 == 0:
            trained = {name: p.data for name, p in model.named_parameters()}
            for name, p in model.named_parameters():
                p.data = kept.shadow[name].clone()
            with torch.no_grad():
                model(torch.randn(4, 6))
            for name, p in model.named_parameters():
                p.data = trained[name] if restore else p.data

    return facts(follow, lambda model: Shadow(model, decay), loop=9)


def test_an_average_that_stays_in_the_model_after_validation_is_told():
    (found,) = validated(restore=False).copies
    assert found.replaces_weights
    assert found.replaced_where is not None
    assert found.replaced_where.text == "p.data = kept.shadow[name].clone()"


@pytest.mark.parametrize("quiet", [lambda: validated(restore=True), lambda: validated(restore=False, decay=0.0)])
def test_weights_that_are_put_back_or_no_average_are_not(quiet):
    assert not any(copy.replaces_weights for copy in quiet().copies)


@torch.no_grad()
def rebind(average: nn.Module, model: nn.Module) -> None:
    for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
        slow = 0.9 * slow + 0.1 * fast  # the fault


@torch.no_grad()
def distance(average: nn.Module, model: nn.Module) -> Tensor:
    total = torch.zeros(())
    for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
        total = total + slow.mul(fast).sum()
    return total


def test_an_update_that_goes_to_the_loop_variable_is_told() -> None:
    (found,) = facts(rebind, copy.deepcopy).copies
    assert (found.updates, found.lost_to) == (0, "slow")
    assert found.where is not None
    assert found.where.text.endswith("# the fault")


@pytest.mark.parametrize("follow", [lerp, distance, None])
def test_copies_that_move_or_stand_still_on_purpose_lose_nothing(follow) -> None:
    assert all(c.lost_to is None for c in facts(follow, copy.deepcopy).copies)
