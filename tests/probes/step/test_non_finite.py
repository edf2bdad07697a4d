"""The first NaN or infinity is traced to the operation that made it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from probes.recorded import fit, measured, record, train
from trainlint.measurements import NonFinite
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.non_finite import measure_non_finite


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def batches(*columns: torch.Tensor, batch: int = 4, **options) -> DataLoader:
    return DataLoader(TensorDataset(*columns), batch, **options)


def find(model, data, loss, **options) -> NonFinite:
    return measured(measure_non_finite, train(model, data, loss, **options))


def regress(model, batch):
    return F.mse_loss(model(batch[0]).squeeze(1), batch[1])


def summary(found: NonFinite) -> tuple[str, str, str]:
    return found.what, found.operation, found.detail


def test_root_of_a_zero_distance_breaks_the_gradient():
    pairs = torch.randn(16, 2, 5)
    pairs[2, 1] = pairs[2, 0]
    found = find(nn.Linear(5, 3), batches(pairs), lambda m, b: (m(b[0][:, 0]) - m(b[0][:, 1])).pow(2).sum(1).sqrt().mean())
    assert summary(found) == ("gradient", "sqrt", "sqrt of 0, where its gradient is infinite")
    assert found.step == 1
    assert found.parameter == "weight"
    assert found.loss > 0
    assert "sqrt()" in found.where.text


def test_a_branch_that_where_leaves_out_still_breaks_the_gradient():
    x = torch.randn(16, 5)

    def loss(model, batch):
        h = model(batch[0]) * (batch[0][:, :3] > 0)
        return torch.where(h > 0, h.sqrt(), torch.zeros_like(h)).sum()

    assert summary(find(nn.Linear(5, 3), batches(x), loss))[:2] == ("gradient", "sqrt")


def test_a_fractional_power_of_zero_breaks_the_gradient():
    x = torch.zeros(16, 5)
    found = find(nn.Linear(5, 3, bias=False), batches(x), lambda m, b: m(b[0]).pow(2).pow(0.5).sum())
    assert summary(found) == ("gradient", "pow", "0 to the power 0.5, where its gradient is infinite")


def test_the_angle_of_equal_vectors_breaks_the_gradient():
    model = nn.Linear(5, 1)
    nn.init.zeros_(model.weight)
    nn.init.ones_(model.bias)
    found = find(model, batches(torch.randn(16, 5)), lambda m, b: torch.acos(m(b[0])).sum())
    assert summary(found) == ("gradient", "acos", "acos of 1, where its gradient is infinite")


def test_log_of_an_underflown_probability_breaks_the_loss():
    model = nn.Linear(5, 3)
    model.weight.data.mul_(1e4)
    data = batches(torch.randn(16, 5), torch.randint(0, 3, (16,)))
    found = find(model, data, lambda m, b: -m(b[0]).softmax(1).log()[range(4), b[1]].mean())
    assert summary(found) == ("loss", "log", "log of 0")


class MaskedMean(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 1)

    def forward(self, x, mask):
        h = self.layer(x).squeeze(-1) * mask
        return h.sum(1) / mask.sum(1)


def test_the_mean_of_nothing_is_a_division_by_zero_in_the_model():
    mask = torch.ones(16, 7)
    mask[3] = 0
    found = find(MaskedMean(), batches(torch.randn(16, 7, 5), mask), lambda m, b: m(*b).mean())
    assert found.operation in ("div", "truediv")
    assert (found.what, found.detail) == ("activation", "division of 0 by 0")
    assert found.module == "MaskedMean"
    assert "mask.sum(1)" in found.where.text


def test_an_exponential_overflows():
    model = nn.Linear(5, 2)
    model.weight.data.mul_(1e4)
    found = find(model, batches(torch.randn(16, 5)), lambda m, b: m(b[0]).exp().mean())
    assert found.operation == "exp"
    assert "is an overflow in float32" in found.detail


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.score, self.value = nn.Linear(5, 1), nn.Linear(5, 2)

    def forward(self, x, padding):
        weights = self.score(x).squeeze(-1).masked_fill(padding, float("-inf")).softmax(1)
        return (weights[..., None] * self.value(x)).sum(1)


def test_a_row_that_is_masked_entirely_is_the_softmax_fault_not_the_masks():
    padding = torch.zeros(16, 7, dtype=torch.bool)
    padding[:, 4:] = True
    padding[1] = True
    found = find(Attention(), batches(torch.randn(16, 7, 5), padding), lambda m, b: m(*b).pow(2).mean())
    assert summary(found) == ("activation", "softmax", "softmax of a row that is masked entirely")


def test_masks_alone_are_sound():
    padding = torch.zeros(16, 7, dtype=torch.bool)
    padding[:, 4:] = True
    assert not find(Attention(), batches(torch.randn(16, 7, 5), padding), lambda m, b: m(*b).pow(2).mean()).found


def test_missing_values_in_a_batch_are_the_inputs_fault():
    x = torch.randn(16, 5)
    x[6, 2] = float("nan")
    found = measured(measure_non_finite, record(lambda: fit(nn.Linear(5, 1), batches(x, torch.randn(16)), regress)))
    assert (found.what, found.step, found.detail) == ("input", 2, "NaN in [0], row 2 of the batch")
    assert "DataLoader(" in found.where.text


def test_infinite_data_is_the_inputs_fault_not_a_mask():
    x = torch.randn(16, 5)
    x[1, 2] = float("-inf")
    assert find(nn.Linear(5, 1), batches(x, torch.randn(16)), regress).what == "input"


def test_a_parameter_that_begins_as_nan():
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 1))
    model[1].bias.data.fill_(float("nan"))
    found = find(model, batches(torch.randn(16, 5), torch.randn(16)), regress)
    assert (found.what, found.parameter) == ("parameter", "1.bias")


def test_targets_that_are_all_ignored():
    data = batches(torch.randn(16, 5), torch.full((16,), -100))
    found = find(nn.Linear(5, 3), data, lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    assert summary(found) == ("loss", "cross_entropy", "every target is ignored, so the mean is a division of 0 by 0")


def test_values_that_grow_too_large_for_their_type():
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 1))
    model[0].weight.data.mul_(1e30)
    model[1].weight.data.mul_(1e30)
    found = find(model, batches(torch.randn(16, 5), torch.randn(16)), regress)
    assert (found.what, found.operation, found.module) == ("activation", "linear", "1")
    assert "overflow: float32" in found.detail


def test_a_later_step_is_found_by_its_number():
    pairs = torch.randn(16, 2, 5)
    pairs[9, 1] = pairs[9, 0]
    found = find(nn.Linear(5, 3), batches(pairs), lambda m, b: (m(b[0][:, 0]) - m(b[0][:, 1])).pow(2).sum(1).sqrt().mean())
    assert (found.step, found.operation) == (3, "sqrt")


def test_gradients_too_large_to_be_squared_are_told_from_infinite_ones():
    found = find(nn.Linear(5, 3), batches(torch.randn(16, 5)), lambda m, b: (m(b[0]) * 1e25).sum())
    assert summary(found) == ("gradient", "", "its values are finite, but their squares are beyond float32")


def rare(count: int = 200, at: int = 120) -> torch.Tensor:
    pairs = torch.randn(count, 2, 5)
    pairs[at, 1] = pairs[at, 0]
    return pairs


def distance(model, batch):
    return (model(batch[0][:, 0]) - model(batch[0][:, 1])).pow(2).sum(1).sqrt().mean()


def test_further_batches_are_tried_when_the_recorded_steps_are_sound():
    found = find(nn.Linear(5, 3), batches(rare()), distance)
    assert summary(found)[:2] == ("gradient", "sqrt")
    assert 8 < found.step <= found.steps


def test_further_batches_are_loaded_here_when_the_loader_has_workers():
    recording = train(nn.Linear(5, 3), batches(rare()), distance)
    recording.loaders[0].loader.num_workers = 3
    assert measured(measure_non_finite, recording).found


def test_a_sound_run_is_sound_and_nothing_is_disturbed():
    generator = torch.Generator().manual_seed(3)
    data = batches(torch.randn(200, 2, 5), shuffle=True, generator=generator)
    model = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(2), nn.Dropout(0.1))
    recording = train(model, data, lambda m, b: m(b[0]).pow(2).mean())
    state = {k: v.clone() for k, v in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters()]
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state(), generator.get_state()
    found = measured(measure_non_finite, recording)
    assert not found.found
    assert len(recording.steps) < found.steps <= len(recording.steps) + 50
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert all(torch.equal(g, p.grad) for g, p in zip(gradients, model.parameters(), strict=True))
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.equal(generator.get_state(), before[3])


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.randn(5), torch.randn(())


def test_an_endless_loader_is_left_after_some_batches():
    found = find(nn.Linear(5, 1), DataLoader(Endless(), 4), regress)
    assert not found.found
    assert found.steps < 200


class Failing(Dataset):
    def __len__(self):
        return 100

    def __getitem__(self, index):
        if index > 60:
            msg = "no such file"
            raise OSError(msg)
        return torch.randn(5), torch.randn(())


def test_a_dataset_that_fails_ends_the_search():
    found = find(nn.Linear(5, 1), DataLoader(Failing(), 4), regress)
    assert not found.found


def test_a_step_that_also_takes_other_values_is_not_fed_other_batches():
    state = {"at": 0}

    def loss(model, batch):
        state["at"] += 1
        weights = torch.tensor(np.full(4, float(state["at"]), dtype=np.float32))  # follows the batch outside of torch
        return (model(batch[0]).squeeze(1) * weights).mean()

    recording = train(nn.Linear(5, 1), batches(torch.randn(200, 5)), loss)
    assert measured(measure_non_finite, recording).steps == len(recording.steps)


def test_without_a_backward_there_is_nothing_to_measure():
    with pytest.raises(CannotMeasureError):
        measured(measure_non_finite, record(lambda: None))
