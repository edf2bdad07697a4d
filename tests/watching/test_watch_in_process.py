"""A watch around a real training in this process."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import trainlint
from trainlint.finding import Severity

QUIET: Callable[[str], None] = lambda text: None  # noqa: E731


class Net(nn.Module):
    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.BatchNorm1d(32), nn.Dropout(0.1))
        self.head = nn.Linear(32, 2)
        nn.init.constant_(self.body[0].bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Dividing(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / x.norm(dim=1, keepdim=True))


class Rooting(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + (x @ self.body[0].weight.T).pow(2).sum(1, keepdim=True).sqrt())


def data(samples: int = 160, zero_at: int | None = None) -> TensorDataset:
    x = torch.randn(samples, 8, generator=torch.Generator().manual_seed(0))
    if zero_at is not None:
        x[zero_at] = 0
    return TensorDataset(x, (x[:, 0] > 0).long())


def train(
    model: nn.Module, dataset: TensorDataset, *, epochs: int = 3, shuffle: bool = True, back: bool = True, evaluate: bool = True
) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    loader, held = DataLoader(dataset, 16, shuffle=shuffle), DataLoader(data(48), 16)
    values = []
    model.train()
    for _ in range(epochs):
        if back:
            model.train()
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        if evaluate:
            model.eval()
        with torch.no_grad():
            values.append(sum(F.cross_entropy(model(x), y).item() for x, y in held) / len(held))
    return values


def failures(report: trainlint.Report) -> dict[str, Severity]:
    return {f.name: f.severity for f in report.failed if f.name != "curve-shape"}


def test_a_watched_run_ends_bit_for_bit_as_an_unwatched_one_and_leaves_no_hook(tmp_path: Path) -> None:
    iterate, functional = DataLoader.__iter__, F.cross_entropy
    ends = []
    for watched in (False, True):
        torch.manual_seed(1)
        model = Net()
        if watched:
            with trainlint.watch(folder=tmp_path, progress=QUIET) as run:
                train(model, data())
            assert run.report is not None
            assert failures(run.report) == {}
        else:
            train(model, data())
        ends.append((model.state_dict(), torch.get_rng_state()))
    (plain, state), (watched_weights, watched_state) = ends
    assert all(torch.equal(plain[k], watched_weights[k]) for k in plain)
    assert torch.equal(state, watched_state)
    assert DataLoader.__iter__ is iterate
    assert F.cross_entropy is functional
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_the_history_holds_the_run_and_its_validation_losses(tmp_path: Path) -> None:
    with trainlint.watch(folder=tmp_path, progress=QUIET):
        values = train(Net(), data())
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [r["val_loss"] for r in rows if "val_loss" in r] == pytest.approx(values, rel=1e-5)
    assert {"step", "epoch", "loss", "lr", "grad_norm"} <= rows[0].keys()
    assert max(r["step"] for r in rows) == 30
    assert (tmp_path / "report.html").read_text().startswith("<!")


@pytest.mark.parametrize(
    ("options", "rule"), [({"back": False}, "train-mode"), ({"evaluate": False}, "eval-mode")], ids=["eval-left", "no-eval"]
)
def test_modes_are_judged(options: dict[str, bool], rule: str) -> None:
    with trainlint.watch(folder=None, progress=QUIET) as run:
        train(Net(), data(), **options)
    assert run.report is not None
    assert failures(run.report) == {rule: Severity.ERROR}


def test_an_epoch_that_is_left_before_its_first_step_is_no_validation() -> None:
    model, loader = Net().train(), DataLoader(data(), 16, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with trainlint.watch(folder=None, progress=QUIET) as run:
        for epoch in range(4):
            for x, y in loader:
                loss = F.cross_entropy(model(x), y)
                if epoch % 2:
                    break
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    assert run.report is not None
    assert failures(run.report) == {}


def test_silent_units_are_an_error() -> None:
    with trainlint.watch(folder=None, progress=QUIET) as run:
        train(Net(bias=-100.0), data(), epochs=2)
    assert run.report is not None
    assert failures(run.report) == {"dead-units": Severity.ERROR}


@pytest.mark.parametrize(("kind", "operation"), [(Dividing, "div"), (Rooting, "sqrt")])
def test_the_first_bad_operation_of_a_late_step_is_named_and_the_run_is_not_disturbed(kind: type[Net], operation: str) -> None:
    with trainlint.watch(folder=None, progress=QUIET) as run:
        train(kind(), data(zero_at=130), epochs=1, shuffle=False)  # the ninth of ten batches
    assert run.report is not None
    finding = run.report["non-finite"]
    assert finding.severity is Severity.ERROR
    assert finding.evidence["operation"] == operation
    assert finding.evidence["step"] == 9
    assert finding.location is not None
    assert finding.location.function == "forward"


def test_a_doomed_run_is_stopped_and_says_why() -> None:
    said: list[str] = []
    reached = 0
    with trainlint.watch(folder=None, stop_on="error", progress=said.append) as run:
        train(Dividing(), data(zero_at=130), epochs=1, shuffle=False)
        reached = 1
    assert not reached
    assert run.report is not None
    assert "non-finite" in failures(run.report)
    assert any("stopping the run" in line for line in said)


@pytest.mark.parametrize("grows", [False, True], ids=["steady", "growing"])
def test_an_overflow_is_named_only_where_something_grew_and_steps_are_counted_alike(grows: bool) -> None:
    said: list[str] = []
    model, loader = nn.Linear(8, 2), DataLoader(data(), 16)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    with trainlint.watch(folder=None, stop_on="error", progress=said.append) as run:
        for epoch in range(2):
            for step, (x, y) in enumerate(loader):
                loss = F.cross_entropy(model(x), y)
                if epoch and step > 5:
                    loss = loss * 30.0 ** (step - 5) if grows else loss
                    if step == 8:
                        loss = loss + (loss.detach() - loss.detach()).log() * 0
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
    assert run.report is not None
    finding = run.report["non-finite"]
    assert finding.fix is not None
    assert ("lower the learning rate" in finding.fix.summary) == grows
    assert ("log or sqrt of 0" in finding.fix.summary) != grows
    assert "clip the gradient" not in finding.fix.summary
    assert "in step 19, after 18 whole steps" in finding.message
    assert "stopping the run after 18 whole steps: non-finite" in said
    assert any(note.startswith("watched 18 steps") for note in run.report.subject.notes)


def test_models_can_be_pickled_copied_and_scripted_while_watched() -> None:
    with trainlint.watch(folder=None, progress=QUIET):
        model = Net()
        train(model, data(), epochs=1)
        copy.deepcopy(model)
        assert pickle.loads(pickle.dumps(model)) is not None

        class Loss(nn.Module):
            def forward(self, x: Tensor, y: Tensor) -> Tensor:
                return F.cross_entropy(x, y)

        torch.jit.script(Loss())


def test_a_wrong_option_says_what_is_right() -> None:
    with pytest.raises(trainlint.UsageError, match="stop_on="):
        trainlint.watch(stop_on="never")
