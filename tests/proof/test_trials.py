"""Fixes tried by replay, on small models with the fault in them."""

from __future__ import annotations

import copy
import dataclasses
import time

import pytest
import torch
import torch.nn.functional as F
from probes.recorded import fit, record
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.engine import Judge
from trainlint.finding import Proof
from trainlint.probes.session import ProbeSession
from trainlint.proof.loss_trials import output_activation
from trainlint.proof.runs import Bench
from trainlint.proof.trying import ELSEWHERE, TRIALS, proofs
from trainlint.record.recording import Recording
from trainlint.registry import load_catalogue
from trainlint.settings import Settings

GENERATOR = torch.Generator().manual_seed(3)
CENTRES = 2 * torch.randn(4, 6, generator=GENERATOR)
LABELS = torch.arange(96) % 4
X = CENTRES[LABELS] + torch.randn(96, 6, generator=GENERATOR)


def proof(recording: Recording, rule: str) -> Proof:
    """What came of trying the fix of one rule, which must have failed."""
    session = ProbeSession(recording, Settings(select=(rule,), budget=60))
    session.judge(load_catalogue().choose((rule,)))
    assert rule in session.proofs, Judge(load_catalogue().choose((rule,)), session.measure).findings()
    return session.proofs[rule]


def mlp(*last: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 4), *last)


def loader(x: torch.Tensor = X, y: torch.Tensor = LABELS, *, shuffle: bool = True) -> DataLoader:
    return DataLoader(TensorDataset(x, y), 16, shuffle=shuffle)


def classify(model: nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def adam(model: nn.Module, lr: float = 3e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=lr)


def test_a_softmax_before_cross_entropy_is_taken_away():
    model = mlp(nn.Softmax(1))
    found = proof(record(lambda: fit(model, loader(), classify, torch.optim.SGD(model.parameters(), lr=0.1))), "output-activation")
    assert found.helped
    assert found.summary.startswith("Without the softmax, ")
    assert found.after < found.before
    assert found.curves is not None
    assert [line.name for line in found.curves.lines] == ["as it is", "with the fix"]


def test_gradients_that_pile_up_are_cleared():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)

    def run() -> None:
        for _ in range(2):
            for batch in loader():
                classify(model, batch).backward()
                optimizer.step()

    assert proof(record(run), "gradient-accumulation").helped


def test_a_learning_rate_far_too_low_is_raised():
    model = mlp()
    found = proof(record(lambda: fit(model, loader(), classify, torch.optim.SGD(model.parameters(), lr=1e-5))), "lr-range")
    assert found.helped
    assert "With a learning rate of" in found.summary


def test_raw_inputs_are_standardised():
    model = mlp()
    found = proof(record(lambda: fit(model, loader(X * 90 + 1000), classify, adam(model))), "input-scale")
    assert found.helped


def test_other_inputs_in_training_do_not_try_a_fix_of_validation():
    model, val = mlp(), X[:48]

    def run() -> None:
        held = DataLoader(TensorDataset((val - val.mean(0)) / val.std(0), LABELS[:48]), 16)
        for _ in range(2):
            fit(model.train(), loader((X - X.mean(0)) / X.std(0)), classify, adam(model))
            with torch.no_grad():
                for batch in held:
                    classify(model.eval(), batch)

    found = proof(record(run), "input-scale")
    assert not found.tried
    assert "validation" in found.summary


def test_missing_values_are_filled_although_no_step_could_be_checked():
    x = X.clone()
    x[::8, 2] = float("nan")
    model = mlp()
    found = proof(record(lambda: fit(model, loader(x), classify, adam(model))), "input-finite")
    assert found.helped
    assert found.before is None
    assert "not a finite number" in found.summary


def test_a_detached_part_is_joined_again():
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(6, 32), nn.Linear(32, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x).relu().detach())

    model = Detached()
    found = proof(record(lambda: fit(model, loader(), classify, adam(model))), "no-gradient")
    assert found.helped
    assert "4 instead of 2 parameters" in found.summary


def test_parameters_outside_the_optimizer_join_it():
    model = mlp()
    recording = record(lambda: fit(model, loader(), classify, torch.optim.SGD(model[2].parameters(), lr=0.1)))
    flags = [p.requires_grad for p in model.parameters()]
    found = proof(recording, "params-not-optimized")
    assert found.tried
    assert "all trained parameters" in found.summary
    assert [p.requires_grad for p in model.parameters()] == flags


def test_samples_sorted_by_class_are_mixed():
    order = LABELS.argsort()
    model = mlp()
    found = proof(record(lambda: fit(model, loader(X[order], LABELS[order], shuffle=False), classify, adam(model, 0.01))), "shuffle")
    assert found.helped
    assert "random order" in found.summary


def test_a_schedule_stepped_once_an_epoch_runs_its_course():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    data = loader(torch.cat([X] * 8), torch.cat([LABELS] * 8))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=4 * len(data))

    def run() -> None:
        for _ in range(4):
            for batch in data:
                optimizer.zero_grad()
                classify(model, batch).backward()
                optimizer.step()
            schedule.step()

    found = proof(record(run, Settings(train_batches=4, steps=12)), "schedule-cadence")
    assert found.helped


def test_a_view_that_mixes_samples_is_given_them_on_the_first_axis():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.head = nn.GRU(6, 12, batch_first=True, bidirectional=True), nn.Linear(24, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            _, state = self.gru(x.unsqueeze(1).expand(-1, 3, -1))
            return self.head(state.view(len(x), 24))

    model = Mixed()
    found = proof(record(lambda: fit(model, loader(), classify, adam(model, 0.01))), "sample-mixing")
    assert found.helped
    assert "samples on the first axis before view" in found.summary


def test_attention_that_sees_later_tokens_gets_a_mask():
    tokens = torch.randint(0, 12, (96, 10), generator=torch.Generator().manual_seed(0))

    class Peeking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place = nn.Embedding(12, 16), nn.Embedding(9, 16)
            self.block, self.head = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True), nn.Linear(16, 12)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.block(self.embed(ids) + self.place.weight))

    def next_token(model: nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
        return F.cross_entropy(model(batch[0][:, :-1]).flatten(0, 1), batch[0][:, 1:].flatten())

    model = Peeking()
    found = proof(
        record(lambda: fit(model, DataLoader(TensorDataset(tokens), 16, shuffle=True), next_token, adam(model, 0.01))), "sample-mixing"
    )
    assert found.tried
    assert found.summary.startswith("With a causal mask, the loss without a look at later tokens")
    assert found.helped


def test_targets_that_were_not_shifted_are_no_matter_of_a_mask():
    tokens = torch.randint(0, 12, (96, 8), generator=torch.Generator().manual_seed(0))
    mask = nn.Transformer.generate_square_subsequent_mask(8)

    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(12, 16), nn.Linear(16, 12)
            self.block = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.block(self.embed(ids), src_mask=mask, is_causal=True))

    def own_token(model: nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
        return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[0].flatten())

    model = Causal()
    found = proof(record(lambda: fit(model, DataLoader(TensorDataset(tokens), 16, shuffle=True), own_token, adam(model))), "sample-mixing")
    assert not found.tried
    assert "compared" in found.summary


def test_what_a_replay_cannot_show_is_not_tried_and_says_why():
    model = mlp(nn.Softmax(1))
    session = ProbeSession(
        record(lambda: fit(model, loader(), classify, adam(model))), Settings(select=("output-activation",), prove=False)
    )
    (finding,) = session.judge(load_catalogue().choose(("output-activation",)))
    assert session.proofs == {}, "proofs were switched off"
    leak = dataclasses.replace(finding, name="split-leak")
    ((name, found, _),) = proofs(session.recording, [leak], session.measure, time.monotonic() + 10)
    assert name == "split-leak"
    assert not found.tried
    assert not found.helped
    assert "does not touch" in found.summary


def test_a_fix_that_makes_no_difference_is_not_said_to_help():
    model = mlp(nn.LogSoftmax(1))
    recording = record(lambda: fit(model, loader(), classify, adam(model)))
    session = ProbeSession(recording, Settings(select=("output-activation",)))
    (finding,) = session.judge(load_catalogue().choose(("output-activation",)))
    assert session.proofs == {}, "a note is not tried"
    found = output_activation(Bench(recording, finding, session.measure, time.monotonic() + 30))
    assert found.tried
    assert not found.helped
    assert "no gain" in found.summary


@pytest.mark.parametrize("seed", [0, 1])
def test_trying_leaves_weights_gradients_and_generators_as_they_were(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 4), nn.Softmax(1))
    recording = record(lambda: fit(model, loader(), classify, adam(model)))
    state, gradients = copy.deepcopy(model.state_dict()), [p.grad.clone() for p in model.parameters()]
    generator = torch.get_rng_state()
    proof(recording, "output-activation")
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), generator)


def test_without_time_nothing_is_tried():
    model = mlp(nn.Softmax(1))
    recording = record(lambda: fit(model, loader(), classify, adam(model)))
    session = ProbeSession(recording, Settings(select=("output-activation",), budget=60))
    findings = Judge(load_catalogue().choose(("output-activation",)), session.measure).findings()
    ((_, found, _),) = proofs(recording, findings, session.measure, time.monotonic() - 1)
    assert not found.tried
    assert "time" in found.summary


@pytest.mark.parametrize("name", ["update-ratio", "house-rule"])
def test_nothing_is_said_of_a_fix_that_has_no_trial(name: str) -> None:
    model = mlp(nn.Softmax(1))
    session = ProbeSession(
        record(lambda: fit(model, loader(), classify, adam(model))), Settings(select=("output-activation",), prove=False)
    )
    (finding,) = session.judge(load_catalogue().choose(("output-activation",)))
    assert not list(proofs(session.recording, [dataclasses.replace(finding, name=name)], session.measure, time.monotonic() + 10))


def test_what_has_no_trial_is_a_rule_of_ours_and_has_none() -> None:
    assert {rule.name for rule in load_catalogue().rules} > ELSEWHERE
    assert not TRIALS.keys() & ELSEWHERE


def test_heads_that_are_cut_out_of_time_steps_are_split_where_they_lie():
    generator = torch.Generator().manual_seed(0)
    asked, values = torch.randint(5, (96,), generator=generator), torch.randint(3, (96, 5), generator=generator)
    ids = torch.cat([15 + asked[:, None], 3 * torch.arange(5) + values], dim=1)

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(20, 16), nn.Linear(16, 3)
            self.q, self.k, self.v = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = self.embed(ids)
            q, k, v = (f(x).view(len(x), 4, 6, 4) for f in (self.q, self.k, self.v))
            return self.head(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)[:, 0])

    model, data = Heads(), TensorDataset(ids, values[torch.arange(96), asked])
    found = proof(record(lambda: fit(model, DataLoader(data, 32, shuffle=True), classify, adam(model, 0.01))), "axis-order")
    assert found.helped
    assert "swapped by transposing" in found.summary
