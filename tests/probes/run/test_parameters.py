from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import Net, classify, fit, measured, record, train
from trainlint.probes.run.parameters import measure_parameters
from trainlint.probes.step.activations import measure_activations
from trainlint_rules.init_scale import InitScale


@pytest.mark.parametrize(("prefix", "void"), [("module.", True), ("", False)])
def test_a_checkpoint_that_matches_no_name_is_told_from_one_that_loads(prefix, void):
    saved = {f"{prefix}{name}": value for name, value in nn.Sequential(nn.Linear(4, 3)).state_dict().items()}
    data = TensorDataset(torch.randn(32, 4), torch.arange(32) % 3)

    def run() -> None:
        model = nn.Sequential(nn.Linear(4, 3))
        model.load_state_dict(saved, strict=False)
        fit(model, DataLoader(data, 8), lambda m, batch: F.cross_entropy(m(batch[0]), batch[1]))

    found = measured(measure_parameters, record(run))
    assert (found.void_load_where is not None) is void
    assert found.pretrained is not void
    assert found.void_load_names == (("module.0.weight", "0.weight") if void else ("", ""))


@pytest.mark.parametrize(("axis", "silent"), [(-1, ("score.bias", "score.weight")), (1, None)])
def test_a_softmax_over_one_entry_leaves_its_scores_without_a_gradient(axis, silent):
    torch.manual_seed(0)

    def pooled(net, x):
        return net.out((net.score(x).softmax(axis) * x).sum(1))

    data = TensorDataset(torch.randn(32, 5, 4), torch.arange(32) % 3)
    net = Net(pooled, score=nn.Linear(4, 1), out=nn.Linear(4, 3))
    found = measured(measure_parameters, train(net, DataLoader(data, 8), lambda m, batch: F.cross_entropy(m(batch[0]), batch[1])))
    assert (found.constant.parameters if found.constant else None) == silent


@pytest.mark.parametrize("build", [lambda: nn.Linear(4, 6), lambda: nn.LSTM(4, 6, batch_first=True), lambda: nn.MultiheadAttention(4, 2)])
@pytest.mark.parametrize("constant", [True, False])
def test_units_that_start_alike_and_stay_alike_are_seen(build, constant):
    torch.manual_seed(0)
    layer, head = build(), nn.Linear(6 if not isinstance(build(), nn.MultiheadAttention) else 4, 3)

    def forward(net, x):
        if isinstance(layer, nn.Linear):
            return head(net.layer(x).relu())
        if isinstance(layer, nn.LSTM):
            return head(net.layer(x[:, None])[0][:, -1])
        return head(net.layer(x[None], x[None], x[None])[0][0])

    if constant:
        for parameter in layer.parameters():
            nn.init.constant_(parameter, 0.1)
        nn.init.constant_(head.weight, 0.1)
    x = torch.randn(32, 4)
    loader = DataLoader(TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()), 8)
    found = measured(measure_parameters, train(Net(forward, layer=layer, head=head), loader, classify))
    assert any(p.identical_units for p in found.parameters) is constant


def test_a_head_that_starts_at_zero_has_units_of_its_own_after_a_step():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    nn.init.zeros_(model[2].weight)
    x = torch.randn(32, 4)
    found = measured(measure_parameters, train(model, DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 8), classify))
    assert not any(p.identical_units for p in found.parameters)


def test_matrices_of_zeros_that_wait_for_each_other_are_found():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    recording = train(model, DataLoader(TensorDataset(torch.randn(32, 4), torch.arange(32) % 3), 8), classify)
    verdict = InitScale().judge(measured(measure_activations, recording), measured(measure_parameters, recording))
    assert verdict.kind == "fail"
    assert "start at zero" in verdict.message


class Chosen(nn.Module):
    """Takes one of several networks by name, or two of a plain list."""

    def __init__(self, used: int) -> None:
        super().__init__()
        self.choice = {"narrow": nn.Linear(4, 3), "wide": nn.Linear(4, 3)}
        self.taken = self.choice["narrow"]
        self.teacher = [nn.Linear(4, 3).requires_grad_(False)]
        self.layers = [nn.Linear(3, 3), nn.Linear(3, 3)]
        self.used = used

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.taken(x) + self.teacher[0](x)
        for layer in self.layers[: self.used]:
            y = layer(y)
        return y


@pytest.mark.parametrize(("used", "hidden"), [(0, 0), (1, 12), (2, 24)])
def test_only_layers_that_get_gradients_are_missed_in_the_register(used, hidden):
    data = TensorDataset(torch.randn(32, 4), torch.arange(32) % 3)
    found = measured(measure_parameters, train(Chosen(used), DataLoader(data, 8), lambda m, batch: F.cross_entropy(m(batch[0]), batch[1])))
    assert sum(u.parameters for u in found.unregistered) == hidden


class Listing(nn.Module):
    """Lists its parameters in a way of its own, and wraps a layer anew in each forward."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(4)

    def parameters(self) -> list[nn.Parameter]:
        return [self.layer.weight, self.layer.bias]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.Sequential(self.layer, nn.Identity())(self.norm(x))


def test_a_module_may_list_its_parameters_in_a_way_of_its_own_and_wrap_its_layers():
    data = TensorDataset(torch.randn(32, 4), torch.arange(32) % 3)
    found = measured(measure_parameters, train(Listing(), DataLoader(data, 8), lambda m, batch: F.cross_entropy(m(batch[0]), batch[1])))
    assert {p.name: p.optimizer for p in found.parameters} == {
        "layer.weight": 0, "layer.bias": 0, "norm.weight": None, "norm.bias": None,
    }  # fmt: skip
    assert not found.rebuilt


def test_of_two_detached_fakes_the_one_before_the_generators_step_is_the_cut():
    generator, judge = nn.Linear(2, 4), nn.Linear(4, 1)
    of_generator, of_judge = (torch.optim.SGD(m.parameters(), lr=0.1) for m in (generator, judge))

    def run() -> None:
        for _ in range(4):
            fake = generator(torch.randn(8, 2))
            of_judge.zero_grad()
            (judge(torch.randn(8, 4)).mean() - judge(fake.detach()).mean()).backward()
            of_judge.step()
            of_generator.zero_grad()
            judge(fake.detach()).mean().backward()
            of_generator.step()

    (cut,) = (c for c in measured(measure_parameters, record(run)).cuts if c.kind == "detach")
    assert len(cut.parameters) == 2
    assert cut.where is not None
    assert cut.where.text == "judge(fake.detach()).mean().backward()"


@pytest.mark.parametrize(("dtype", "lr", "held"), [(torch.bfloat16, 1e-4, True), (torch.bfloat16, 0.1, False), (torch.float32, 1e-4, None)])
def test_steps_that_rounding_takes_from_weights_of_16_bits_are_counted(dtype, lr, held):
    data = TensorDataset(torch.randn(64, 16, dtype=dtype), torch.arange(64) % 3)

    def run() -> None:
        torch.manual_seed(0)
        model = nn.Linear(16, 3).to(dtype)
        fit(
            model,
            DataLoader(data, 8),
            lambda m, batch: F.cross_entropy(m(batch[0]).float(), batch[1]),
            torch.optim.Adam(model.parameters(), lr),
        )

    found = measured(measure_parameters, record(run))
    unmoved = found.parameters[0].unmoved
    assert (unmoved if unmoved is None else unmoved > 0.5) is held
    assert (found.cast_where is not None) is (dtype is torch.bfloat16)
