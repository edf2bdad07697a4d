"""A layer's column that meets a row in the script's own arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probes.recorded import measured, train
from trainlint.probes.step.loss import measure_loss


def crossed(loss) -> tuple[int, ...]:
    torch.manual_seed(0)
    loader = [(torch.randn(8, 4), torch.randn(8)) for _ in range(8)]
    return measured(measure_loss, train(nn.Linear(4, 1), loader, loss)).crossed


@pytest.mark.parametrize(
    ("loss", "found"),
    [
        (lambda m, b: (m(b[0]) - b[1]).square().mean(), (8, 1)),
        (lambda m, b: (m(b[0]).squeeze(1) * (b[1] - m(b[0]).detach())).mean(), (8, 1)),
        (lambda m, b: (m(b[0]).squeeze(1) - b[1]).square().mean(), ()),
        (lambda m, b: (m(b[0]).squeeze(1).unsqueeze(1) - b[1]).abs().mean(), ()),
        (lambda m, b: (lambda s: (s - s.squeeze(1)).square().mean())(m(b[0])), ()),
        (lambda m, b: (m(b[0]).sum(1, keepdim=True) + b[1] - b[1][:, None]).square().mean(), ()),
    ],
)
def test_a_column_of_a_layer_that_meets_a_row(loss, found):
    assert crossed(loss) == found


def test_which_operand_the_column_is():
    def advantage(m, b):
        return (m(b[0]).squeeze(1) * (b[1] - m(b[0]).detach())).mean()

    batches = [(torch.randn(8, 4), torch.randn(8)) for _ in range(8)]
    loss = measured(measure_loss, train(nn.Linear(4, 1), batches, advantage))
    assert (loss.crossed_by, loss.crossed_side) == ("sub", 1)


class Gaussian(nn.Module):
    """A policy with one action, and a value."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.value = nn.Linear(4, 1), nn.Linear(4, 1)

    def forward(self, x):
        return torch.distributions.Normal(self.mean(x), 1.0), self.value(x)


@pytest.mark.parametrize(
    ("axis", "found"),
    [
        (lambda log_prob, gain: log_prob.squeeze(1) * gain, (8, 1)),
        (lambda log_prob, gain: log_prob * gain.squeeze(1), (8, 1)),
        (lambda log_prob, gain: log_prob * gain, ()),
    ],
)
def test_an_advantage_reckoned_from_columns_is_a_column(axis, found):
    def loss(model, batch):
        policy, value = model(batch[0])
        gain = (batch[1].unsqueeze(1) + 1.0) - value
        return gain.square().mean() - axis(policy.log_prob(batch[2].unsqueeze(1)), gain.detach()).mean()

    torch.manual_seed(0)
    loader = [(torch.randn(8, 4), torch.randn(8), torch.randn(8)) for _ in range(8)]
    assert measured(measure_loss, train(Gaussian(), loader, loss)).crossed == found


def test_log_probabilities_of_steps_taken_one_by_one_stack_to_a_column():
    def loss(model, batch):
        steps = [torch.distributions.Categorical(logits=model(x[None])).log_prob(a[None]) for x, a in zip(batch[0], batch[2], strict=True)]
        return -(torch.stack(steps) * batch[1]).mean()

    loader = [(torch.randn(8, 4), torch.randn(8), torch.randint(2, (8,))) for _ in range(8)]
    assert measured(measure_loss, train(nn.Linear(4, 2), loader, loss)).crossed == (8, 1)


def test_a_model_may_multiply_a_column_by_a_row_of_its_own():
    class Waves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("frequencies", torch.arange(8.0))
            self.head = nn.Linear(8, 1)

        def forward(self, x):
            return self.head((x * self.frequencies).sin())

    loader = [(torch.randn(8, 1), torch.randn(8)) for _ in range(8)]
    loss = lambda m, b: (m(b[0]).squeeze(1) - b[1]).square().mean()  # noqa: E731
    assert measured(measure_loss, train(Waves(), loader, loss)).crossed == ()
