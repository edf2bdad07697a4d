"""What formulas of a script's own say of right and wrong answers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import measured, train
from trainlint.measurements import Answers
from trainlint.probes.step.loss import measure_loss
from trainlint_rules.output_activation import OutputActivation


def loss_of(formula, classes: int = 0):
    torch.manual_seed(0)
    rows = torch.arange(64)
    labels = rows % classes if classes else (rows % 3 == 0).float()[:, None]
    loader = DataLoader(TensorDataset(torch.randn(64, 6), labels), 8)
    return measured(measure_loss, train(nn.Linear(6, classes or 1), loader, lambda m, b: formula(m(b[0]), b[1])))


def bce(z, t):
    return -(t * z.sigmoid().log() + (1 - t) * (1 - z.sigmoid()).log()).mean()


def softmax_loss(z, t):
    return -z.log_softmax(1).gather(1, t[:, None]).mean()


def dice(p, t):
    return 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)


def verdict(formula, classes: int = 0):
    return OutputActivation().judge(loss_of(formula, classes))


def smoothed(z, t):
    """As timm writes label smoothing out: scores of clearly right answers are punished too."""
    logs = z.log_softmax(1)
    return (-0.9 * logs.gather(1, t[:, None]).squeeze(1) - 0.1 * logs.mean(1)).mean()


def test_smoothed_labels_are_no_fault():
    assert verdict(smoothed, 4).kind == "pass"


def test_actions_of_a_policy_with_their_advantages_are_not_asked():
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(64, 6), torch.arange(64) % 3, -torch.rand(64))
    loader = DataLoader(data, 8)
    found = measured(
        measure_loss, train(nn.Linear(6, 3), loader, lambda m, b: -(m(b[0]).log_softmax(1).gather(1, b[1][:, None])[:, 0] * b[2]).mean())
    )
    assert found.answers is None


def test_an_attack_on_a_trained_model_is_not_asked():
    torch.manual_seed(0)
    model, noise = nn.Linear(6, 3).requires_grad_(False), nn.Parameter(torch.zeros(6))
    loader = DataLoader(TensorDataset(torch.randn(64, 6), torch.arange(64) % 3), 8)

    def attack(m, b):
        return m(b[0] + noise).log_softmax(1).gather(1, b[1][:, None]).mean()

    assert measured(measure_loss, train(model, loader, attack, torch.optim.SGD([noise], 0.1))).answers is None


@pytest.mark.parametrize("formula", [bce, lambda z, t: (z - t).square().mean(), lambda z, t: dice(z.sigmoid(), t)])
def test_formulas_that_fall_with_right_answers_pass(formula):
    assert verdict(formula).kind == "pass"
    assert verdict(softmax_loss, 4).kind == "pass"


@pytest.mark.parametrize(("formula", "classes"), [(lambda z, t: -bce(z, t), 0), (lambda z, t: -softmax_loss(z, t), 4)])
def test_a_wrong_sign_is_told(formula, classes):
    assert "sign is wrong" in verdict(formula, classes).message


def test_a_torch_loss_that_is_taken_negative_is_told():
    assert "sign is wrong" in verdict(lambda z, t: -nn.functional.cross_entropy(z, t), 4).message


def test_a_formula_for_probabilities_that_gets_scores_is_told():
    found = verdict(dice)
    assert "raw scores" in found.message
    assert found.location is not None


def test_nothing_is_asked_of_torch_losses():
    assert loss_of(nn.functional.cross_entropy, 4).answers is None
    assert isinstance(loss_of(softmax_loss, 4).answers, Answers)
