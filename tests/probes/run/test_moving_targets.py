"""A teacher that is trained along is told from networks that are meant to move."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import Net, fit, measured, record
from trainlint.probes.run.parameters import measure_parameters


def distilled(loss, *, load=True, both=True):
    def run() -> None:
        torch.manual_seed(0)
        teacher, student = nn.Linear(6, 4), nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
        if load:
            teacher.load_state_dict(nn.Linear(6, 4).state_dict())
        net = Net(lambda net, x: loss(net.teacher, net.student, x), teacher=teacher, student=student)
        held = itertools.chain(student.parameters(), teacher.parameters() if both else ())
        fit(net, DataLoader(TensorDataset(torch.randn(64, 6)), 16), lambda m, batch: m(batch[0]), torch.optim.SGD(held, 0.01))

    return measured(measure_parameters, record(run))


def kl(teacher, student, x):
    return F.kl_div(student(x).log_softmax(1), teacher(x).softmax(1), reduction="batchmean")


def cut(teacher, student, x):
    return F.kl_div(student(x).log_softmax(1), teacher(x).softmax(1).detach(), reduction="batchmean")


def mutual(teacher, student, x):
    return kl(teacher, student, x) + kl(student, teacher, x)


def tuned(teacher, student, x):
    return F.mse_loss(x[:, :4], teacher(x))


@pytest.mark.parametrize(("loss", "name"), [(kl, "kl_div"), (lambda t, s, x: F.mse_loss(t(x), s(x)), "mse_loss")])
def test_a_teacher_that_receives_gradients_through_its_targets_alone_is_told(loss, name):
    found = distilled(loss).moving_targets
    assert found is not None
    assert (found.loss, found.parameters) == (name, ("teacher.weight", "teacher.bias"))
    assert found.where is not None


@pytest.mark.parametrize(
    "found",
    [
        lambda: distilled(cut),
        lambda: distilled(kl, both=False),
        lambda: distilled(kl, load=False),
        lambda: distilled(mutual),
        lambda: distilled(tuned),
        lambda: distilled(lambda t, s, x: kl(t, s, x) + t(x).square().mean()),
    ],
)
def test_networks_that_stand_still_or_have_another_aim_are_not(found):
    assert found().moving_targets is None


def test_a_teacher_without_gradients_is_known_as_one():
    assert distilled(cut).teachers == ("teacher.weight", "teacher.bias")
    assert distilled(cut, load=False).teachers == distilled(kl).teachers == ()
