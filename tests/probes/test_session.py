"""The session: each measurement once, reasons in place of guesses, weights as they were."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.measurements import LearningRate, Loop, Loss, Overfit, Unmeasured
from trainlint.probes import session as sessions
from trainlint.probes.session import ProbeSession
from trainlint.record.recording import Recording
from trainlint.settings import Settings

from .recorded import record


@pytest.fixture(scope="module")
def recording() -> Recording:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    x = torch.randn(200, 6)
    loader = DataLoader(TensorDataset(x, x[:, :3].argmax(1)), 20, shuffle=True)

    def run() -> None:
        for _ in range(3):
            for inputs, labels in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(inputs), labels).backward()
                optimizer.step()

    return record(run)


def test_experiments_leave_weights_buffers_and_gradients_as_they_were(recording: Recording) -> None:
    model = recording.models()[0]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    gradients = [p.grad for p in model.parameters()]
    session = ProbeSession(recording, Settings(budget=60))
    assert isinstance(session.measure(Overfit), Overfit)
    assert isinstance(session.measure(LearningRate), LearningRate)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(a is b for a, b in zip((p.grad for p in model.parameters()), gradients, strict=True))


def test_a_healthy_model_fits_its_batch_and_its_rate_lies_in_the_band(recording: Recording) -> None:
    session = ProbeSession(recording, Settings(budget=60))
    overfit, rates = session.measure(Overfit), session.measure(LearningRate)
    assert isinstance(overfit, Overfit)
    assert overfit.reached < 0.1
    assert isinstance(rates, LearningRate)
    assert rates.low is not None
    assert rates.high is not None
    assert rates.low / 10 < rates.configured < rates.high * 10


def test_the_same_seed_gives_the_same_measurements(recording: Recording) -> None:
    first, second = (ProbeSession(recording, Settings(budget=60, seed=5)).measure(LearningRate) for _ in range(2))
    assert isinstance(first, LearningRate)
    assert isinstance(second, LearningRate)
    assert [t.losses for t in first.trials] == [t.losses for t in second.trials]


def test_what_the_budget_does_not_allow_says_so(recording: Recording) -> None:
    found = ProbeSession(recording, Settings(budget=0.001)).measure(Overfit)
    assert isinstance(found, Unmeasured)
    assert "budget" in found.reason
    assert isinstance(ProbeSession(recording, Settings(budget=0.001)).measure(Loop), Loop)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "memory ran out"),
        (torch.OutOfMemoryError(), "memory ran out"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
    ],
)
def test_a_probe_that_breaks_becomes_a_reason(recording: Recording, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str) -> None:
    def broken(*_: object) -> Loss:
        raise error

    monkeypatch.setitem(sessions.PROBES, Loss, broken)
    found = ProbeSession(recording, Settings()).measure(Loss)
    assert isinstance(found, Unmeasured)
    assert says in found.reason


def test_each_measurement_is_made_once(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = sessions.PROBES[Loss]
    monkeypatch.setitem(sessions.PROBES, Loss, lambda *a: made.append(1) or real(*a))
    session = ProbeSession(recording, Settings())
    assert session.measure(Loss) is session.measure(Loss)
    assert made == [1]


def test_a_step_that_does_not_run_again_is_no_fault_of_the_measurement(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(recording: Recording, deadline: float, settings: Settings) -> Loss:
        def refuse(*_: object) -> None:
            raise IndexError("index 9 is out of bounds")

        tape = recording.tape
        assert tape is not None
        first = tape.operations[0]
        broken = copy.copy(first)
        broken.call = refuse
        tape.replay(change=lambda op: broken if op is first else op)
        raise AssertionError

    monkeypatch.setitem(sessions.PROBES, Loss, measure)
    result = ProbeSession(recording, Settings()).measure(Loss)
    assert isinstance(result, Unmeasured)
    assert not result.broken
    assert "does not run again with other numbers (IndexError: index 9 is out of bounds)" in result.reason
