"""What the model itself learns of labels in a short training."""

from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import train
from trainlint.measurements import Lesson
from trainlint.probes.data.split_samples import read_split
from trainlint.probes.labels.held_out import train_a_while


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def lesson(inputs: Tensor, targets: Tensor, loss, outputs: int = 2) -> Lesson | None:
    model = nn.Sequential(nn.Linear(inputs.shape[1], 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, outputs))
    recording = train(model, DataLoader(TensorDataset(inputs, targets), 32, shuffle=True), lambda m, b: loss(m(b[0]), b[1]))
    before = [p.detach().clone() for p in model.parameters()]
    end = time.monotonic() + 60
    found = train_a_while(recording, read_split(recording, "train", end), end)
    assert found is None or len(before) == len(list(model.parameters()))
    return found


def test_what_the_model_can_learn_shows_on_other_samples() -> None:
    inputs = torch.randn(640, 6)
    found = lesson(inputs, (inputs[:, 0] * inputs[:, 1] > 0).long(), F.cross_entropy)
    assert found is not None
    assert found.z > 6


@pytest.mark.parametrize("classes", [True, False])
def test_labels_of_other_samples_are_learned_by_heart_only(classes: bool) -> None:
    inputs, noise = torch.randn(400, 30), torch.randn(400)
    if classes:
        found = lesson(inputs, (noise > 0).long(), F.cross_entropy)
    else:
        found = lesson(inputs, noise, lambda out, target: F.mse_loss(out.squeeze(1), target), outputs=1)
    assert found is not None
    assert found.by_heart
    assert found.z < 2.33


def test_too_few_samples_say_nothing() -> None:
    assert lesson(torch.randn(96, 6), torch.randint(0, 2, (96,)), F.cross_entropy) is None


@pytest.mark.parametrize("ids", [True, False])
def test_ids_are_told_from_measured_rows(ids: bool) -> None:
    inputs = torch.randint(3, 50, (400, 6)) if ids else torch.randn(400, 6)
    model = nn.Sequential(nn.Embedding(50, 8) if ids else nn.Unflatten(1, (6, 1)), nn.Flatten(), nn.LazyLinear(2))
    model(inputs[:2])
    loader = DataLoader(TensorDataset(inputs, torch.randint(0, 2, (400,))), 32, shuffle=True)
    recording = train(model, loader, lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    end = time.monotonic() + 60
    found = train_a_while(recording, read_split(recording, "train", end), end)
    assert found is not None
    assert found.relational == ids
