from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import measured, record
from trainlint.probes.data.batches import measure_batches
from trainlint.probes.step.optimizer_copies import configured_lr
from trainlint.probes.step.replay import rehearsal
from trainlint.record.recording import Recording


def loaders() -> tuple[DataLoader, DataLoader]:
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(x, (x[:, 0] > 0).long())
    return DataLoader(data, 8), DataLoader(data, 32)


def body_and_head(*, in_turns: bool = False) -> Recording:
    def run() -> None:
        torch.manual_seed(0)
        train, val = loaders()
        body, head = nn.Sequential(nn.Linear(6, 16), nn.ReLU()), nn.Linear(16, 2)
        first, second = torch.optim.SGD(body.parameters(), lr=0.1), torch.optim.Adam(head.parameters(), lr=0.01)
        for _ in range(2):
            for x, y in train:
                for optimizer in (first, second):
                    optimizer.zero_grad()
                F.cross_entropy(head(body(x)), y).backward()
                first.step()
                if in_turns:
                    second.zero_grad()
                    F.cross_entropy(head(body(x)), y).backward()
                second.step()
            with torch.no_grad():
                for x, _ in val:
                    head(body(x))

    return record(run)


def test_optimizers_that_step_on_the_same_gradients_are_copied_as_one():
    recording = body_and_head()
    assert recording.turns == 1
    assert configured_lr(recording) == [0.1, 0.01]
    with rehearsal(recording) as trial:
        optimizer = trial.own_optimizer(1.0)
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([1.0, 0.1])
        before = [t.detach().clone() for t in trial.leaves]
        trial.step(optimizer, {})
        assert all(not torch.equal(a, b) for a, b in zip(before, trial.leaves, strict=True))


def test_optimizers_that_take_turns_are_not_replayed():
    assert body_and_head(in_turns=True).turns == 2


def test_what_a_body_hands_to_a_head_is_no_input_of_validation():
    found = measured(measure_batches, body_and_head())
    assert {leaf.shape[1:] for view in (*found.train, *found.val) for leaf in view.inputs} == {(6,)}
