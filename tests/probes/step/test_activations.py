"""Statistics of each layer's output in the first forward, at the weights the script began with."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import classify, fit, measured, record, train
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.activations import measure_activations


def loader(features: int = 6, classes: int = 3, batch: int = 8) -> DataLoader:
    torch.manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(64, features), torch.randint(0, classes, (64,))), batch)


def mlp(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(*layers)


def test_layers_come_in_the_order_of_the_forward_with_module_and_kind():
    model = mlp(nn.Linear(6, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 3))
    layers = measured(measure_activations, train(model, loader(), classify)).layers
    assert [(a.module, a.kind) for a in layers] == [("0", "linear"), ("1", "relu"), ("2", "batch_norm"), ("3", "tanh"), ("4", "linear")]
    assert [a.units for a in layers] == [16, 16, 16, 16, 3]
    assert all(a.where.file.endswith("recorded.py") for a in layers)


def test_values_are_those_of_the_first_batch_at_the_first_weights():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    data = loader()
    x, _ = next(iter(data))
    with torch.no_grad():
        expected = model[0](x)
    layers = measured(measure_activations, train(model, data, classify, torch.optim.SGD(model.parameters(), 1.0))).layers
    assert layers[0].std == pytest.approx(float(expected.std(correction=0)), rel=1e-5)
    assert layers[0].mean == pytest.approx(float(expected.mean()), rel=1e-4)
    assert layers[0].absolute_max == pytest.approx(float(expected.abs().max()), rel=1e-5)
    assert layers[1].zero_share == pytest.approx(float((expected <= 0).float().mean()))


def test_weights_buffers_and_random_numbers_are_left_alone():
    model = mlp(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    recording = train(model, loader(), classify)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    measured(measure_activations, recording)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_unit_is_dead_when_no_recorded_batch_wakes_it():
    model = mlp(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(4, 6))
        model[0].bias.copy_(torch.tensor([-50.0, -50.0, -1.8, 0.0]))
    relu = measured(measure_activations, train(model, loader(batch=4), classify)).layers[1]
    assert relu.dead_units == 0.5
    assert relu.zero_share > 0.5


def test_channels_are_the_units_of_a_convolution():
    model = mlp(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(180, 3))
    model[0].bias.data.fill_(1.0)
    model[0].bias.data[:2] = -100.0
    data = DataLoader(TensorDataset(torch.rand(16, 1, 8, 8), torch.randint(0, 3, (16,))), 4)
    relu = measured(measure_activations, train(model, data, classify)).layers[1]
    assert (relu.units, relu.dead_units) == (5, pytest.approx(0.4))


def test_flat_tails_of_tanh_and_sigmoid_are_saturated():
    model = mlp(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3), nn.Sigmoid())
    model[0].weight.data.mul_(1000.0)
    layers = measured(measure_activations, train(model, loader(), classify)).layers
    assert layers[1].saturated > 0.9
    assert layers[3].saturated < 0.1


class Shift(nn.Module):
    def forward(self, x):
        return x * 0 + 1.0


def test_outputs_that_do_not_depend_on_the_sample_are_identical():
    model = mlp(nn.Linear(6, 16), Shift(), nn.Linear(16, 3))
    layers = measured(measure_activations, train(model, loader(), classify)).layers
    assert [a.identical_samples for a in layers] == [False, True]


@pytest.mark.parametrize(("kind", "rate", "healed"), [(torch.optim.Adam, 0.05, True), (torch.optim.SGD, 1e-3, False)])
def test_a_collapse_that_the_first_steps_heal_is_told_from_one_that_stays(kind, rate, healed):
    model = mlp(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1e-4 if weight.dim() > 1 else 1.0)
    x = torch.randn(64, 6)
    data = DataLoader(TensorDataset(x, x[:, :3].argmax(1)), 8)
    found = measured(measure_activations, train(model, data, classify, kind(model.parameters(), rate)))
    assert found.layers[-1].identical_samples
    assert found.told_apart_later is healed


class Typed(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.kinds, self.head = nn.Embedding(10, 8), nn.Embedding(2, 8), nn.Linear(8, 3)

    def forward(self, ids, kinds):
        return self.head((self.tokens(ids) + self.kinds(kinds)).mean(1))


def test_the_same_input_for_every_sample_is_not_the_layers_doing():
    torch.manual_seed(0)
    data = DataLoader(TensorDataset(torch.randint(0, 10, (16, 5)), torch.zeros(16, 5, dtype=torch.long), torch.randint(0, 3, (16,))), 4)
    recording = train(Typed(), data, lambda model, batch: F.cross_entropy(model(*batch[:2]), batch[2]))
    assert not any(a.identical_samples for a in measured(measure_activations, recording).layers)


def test_functions_of_the_loss_are_no_layers():
    recording = train(mlp(nn.Linear(6, 3)), loader(), lambda model, batch: F.relu(1.0 - model(batch[0])).mean())
    assert [a.kind for a in measured(measure_activations, recording).layers] == ["linear"]


def test_a_loop_over_time_is_described_by_its_first_calls():
    torch.manual_seed(0)

    class Unrolled(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.Linear(8, 8)

        def forward(self, x):
            h = torch.zeros(x.shape[0], 8)
            for t in range(x.shape[1]):
                h = torch.tanh(self.cell(h + x[:, t]))
            return h

    data = DataLoader(TensorDataset(torch.randn(16, 12, 8), torch.randint(0, 8, (16,))), 4)
    kinds = [a.kind for a in measured(measure_activations, train(Unrolled(), data, classify)).layers]
    assert kinds == ["linear", "tanh"] * 4


def test_infinities_do_not_spoil_the_statistics():
    model = mlp(nn.Linear(6, 16), nn.Linear(16, 3))
    model[0].bias.data[0] = float("inf")
    layers = measured(measure_activations, train(model, loader(), classify)).layers
    assert 0 < layers[0].std < 10
    assert layers[1].absolute_max >= 0


def test_without_a_tape_there_is_nothing_to_measure():
    with pytest.raises(CannotMeasureError, match="could not be followed"):
        measured(measure_activations, record(lambda: None))


class Drawn(nn.Module):
    """Parameters of its own, applied by hand."""

    def __init__(self, apply, *shape: int, scale: float = 1.0) -> None:
        super().__init__()
        self.apply_weights, self.scale = apply, scale
        self.weight = nn.Parameter(torch.randn(*shape) * scale)
        self.bias = nn.Parameter(torch.zeros(shape[-1]))
        self.head = nn.Linear(shape[-1], 3)

    def forward(self, x):
        return self.head(torch.tanh(self.apply_weights(x, self.weight) + self.bias))


PRODUCTS = {
    "matmul": (lambda x, w: x @ w, (36, 20)),
    "einsum": (lambda x, w: torch.einsum("bi,io->bo", x, w), (36, 20)),
    "einsum of experts": (lambda x, w: torch.einsum("eio, bi -> beo", w, x)[:, 0], (2, 36, 20)),
    "bmm": (lambda x, w: torch.bmm(x.unsqueeze(0), w).squeeze(0), (1, 36, 20)),
    "linear": (lambda x, w: F.linear(x, w.t()), (36, 20)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_weights_before_a_saturated_function_are_named(name):
    apply, shape = PRODUCTS[name]
    recording = record(lambda: fit(Drawn(apply, *shape), loader(36), classify))
    (tail,) = [a for a in measured(measure_activations, recording).layers if a.kind == "tanh"]
    assert tail.saturated > 0.5
    assert tail.weighing.weights == "weight"
    assert tail.weighing.std == pytest.approx(1.0, abs=0.05)
    assert tail.weighing.inputs == 36
    assert "self.weight = nn.Parameter(" in tail.weighing.where.text


def test_weights_that_are_scaled_where_they_are_used_are_not():
    scaled = Drawn(lambda x, w: x @ (w * 8.0), 36, 20)
    (tail,) = [a for a in measured(measure_activations, train(scaled, loader(36), classify)).layers if a.kind == "tanh"]
    assert tail.saturated > 0.5
    assert tail.weighing is None
    sound = Drawn(PRODUCTS["matmul"][0], 36, 20, scale=1 / 6)
    assert all(a.weighing is None for a in measured(measure_activations, train(sound, loader(36), classify)).layers)
