"""Whether predictions depend on the inputs, on models that do and models that do not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import Net, measured, train
from trainlint.measurements import Influence
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.influence import measure_influence

X, EXTRA, LABELS = torch.randn(64, 6), torch.randn(64, 3), torch.arange(64) % 4


def influence(model: nn.Module, *inputs: torch.Tensor, optimizer: torch.optim.Optimizer | None = None) -> Influence:
    loader = DataLoader(TensorDataset(*(inputs or (X,)), LABELS), 16)
    return measured(measure_influence, train(model, loader, lambda m, b: F.cross_entropy(m(*b[:-1]), b[-1]), optimizer))


def test_a_plain_model_depends_on_its_input():
    found = influence(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4)))
    assert found.together.change > 0.1
    assert found.samples == 16
    assert found.inputs == ()


def test_a_norm_over_one_value_loses_the_input_and_is_named():
    model = Net(lambda net, x: net.head(net.norm(net.body(x))), body=nn.Linear(6, 1), norm=nn.LayerNorm(1), head=nn.Linear(1, 4))
    found = influence(model)
    assert found.together.change < 1e-6
    assert found.together.gradient_change < 1e-4  # as the probe has it
    assert found.lost_in == "layer_norm"
    assert found.where is not None


def test_a_model_that_uses_something_else_is_called_again():
    model = Net(lambda net, x: net.head(net.token.expand(len(x), -1)), head=nn.Linear(6, 4))
    model.token = nn.Parameter(torch.randn(1, 6))
    found = influence(model)
    assert not found.together.connected
    assert found.together.change == 0.0
    assert found.where is not None


def test_a_model_that_leaves_torch_is_not_said_to_ignore():
    model = Net(lambda net, x: net.head(torch.from_numpy(x.numpy() * 2)), head=nn.Linear(6, 4))
    found = influence(model)
    assert not found.together.connected
    assert found.together.change > 0.1


@pytest.mark.parametrize("lr", [0.1, 0.0])
def test_a_head_that_begins_at_zero_learns_from_the_input(lr):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    nn.init.zeros_(model[2].weight)
    found = influence(model, optimizer=torch.optim.SGD(model.parameters(), lr=lr))
    assert max(found.together.change, found.together.gradient_change) > 1e-3


class Killing(torch.optim.SGD):
    """Takes steps that leave nothing of the weights."""

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data.zero_()


def test_a_model_that_its_steps_have_killed_did_not_ignore_its_input():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    found = influence(model, optimizer=Killing(model.parameters(), lr=1.0))
    assert found.together.change > 1e-3
    assert not any(p.any() for p in model.parameters())


def test_one_of_two_inputs_that_is_not_used_is_told():
    model = Net(lambda net, x, extra: net.head(x), head=nn.Linear(6, 4))
    (extra,) = influence(model, X, EXTRA).inputs[-1:]
    assert (extra.path, extra.change, extra.connected) == ("[1]", 0.0, False)
    silenced = Net(lambda net, x, extra: net.head(x) + 0 * net.side(extra), head=nn.Linear(6, 4), side=nn.Linear(3, 4))
    effects = {e.path: e for e in influence(silenced, X, EXTRA).inputs}
    assert effects["[0]"].change > 0.1
    assert max(effects["[1]"].change, effects["[1]"].gradient_change) == 0.0


def test_inputs_that_are_the_same_for_all_samples_cannot_be_judged():
    with pytest.raises(CannotMeasureError, match="same inputs"):
        influence(nn.Linear(6, 4), torch.ones(64, 6))
    model = Net(lambda net, x, mask: net.head(x * mask), head=nn.Linear(6, 4))
    assert [e.path for e in influence(model, X, torch.ones(64, 6)).inputs] == ["[0]"]


def test_a_model_that_pools_over_its_batch_is_given_other_values():
    model = Net(lambda net, x: net.head(net.body(x).relu().mean(0, keepdim=True)), body=nn.Linear(6, 8), head=nn.Linear(8, 1))
    loader = DataLoader(TensorDataset(X), 16)
    found = measured(measure_influence, train(model, loader, lambda m, b: F.mse_loss(m(b[0]), torch.ones(1, 1))))
    assert found.together.change > 1e-3


def test_noise_made_in_the_likeness_of_a_batch_is_no_input_that_is_ignored():
    generator = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 6))
    critic = nn.Linear(6, 1)

    def loss(_: nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
        fake = generator(torch.randn(len(batch[0]), 3).type_as(batch[0]))
        return F.binary_cross_entropy_with_logits(critic(fake), torch.ones(len(fake), 1))

    recording = train(generator, DataLoader(TensorDataset(X, LABELS), 16), loss)
    with pytest.raises(CannotMeasureError, match="outside of torch, or not at all"):
        measured(measure_influence, recording)
