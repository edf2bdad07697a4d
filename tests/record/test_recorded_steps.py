"""What counts as a step, as training and as one turn of the loop; what is kept of it and what is let go."""

from __future__ import annotations

import weakref
from contextlib import suppress

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from training_loops import loaders, record, train

from trainlint.probes.run.loop import measure_loop
from trainlint.record.frames import Frames
from trainlint.record.hooks import listening
from trainlint.record.recorder import Recorder, StopRecording
from trainlint.record.recording import Recording
from trainlint.settings import Settings


@pytest.mark.parametrize("keeps", [False, True])
def test_graphs_count_once_a_turn_of_the_loop(keeps: bool) -> None:
    """A layer that is called eight times in one forward is no history; outputs kept from batch to batch are."""
    model, (train_loader, val_loader) = nn.Linear(6, 6), loaders()
    optimizer, history = torch.optim.SGD(model.parameters(), 0.1), []

    def each(i: int, x: torch.Tensor, y: torch.Tensor) -> None:
        states = []
        for _ in range(8):
            x = model(x)
            states += [x.mean(1, keepdim=True)]
        if keeps:
            history.append(x)
        optimizer.zero_grad()
        F.cross_entropy(torch.cat(states, 1), y).backward()
        optimizer.step()

    recording = record(lambda: train(model, optimizer, train_loader, val_loader, each=each))
    assert [k.alive >= 3 for k in recording.kept if k.kind == "outputs"] == [keeps]


def test_weights_that_are_updated_by_hand_have_one_first_step() -> None:
    """Without an optimizer no step is told, so the second backward() at a line ends the first."""
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders()
    begun = model.weight.detach().clone()

    def each(i: int, x: torch.Tensor, y: torch.Tensor) -> None:
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        for p in model.parameters():
            p.data.add_(p.grad, alpha=-0.1)

    recording = record(lambda: train(model, None, train_loader, val_loader, each=each))
    assert len(recording.first_tapes) == 1
    assert torch.equal(recording.initial[id(model.weight)], begun)
    assert not torch.equal(model.weight, begun)


class Rebuilding(nn.Module):
    """Builds a layer at each forward, and another one at the first only."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.late = nn.Linear(6, 3), None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.late is None:
            self.late = nn.Linear(6, 6)
        return self.head(nn.LayerNorm(6)(nn.Linear(6, 6)(self.late(x))))


def test_layers_that_a_forward_builds_at_each_step_are_told_from_those_built_late() -> None:
    model, (train_loader, val_loader) = Rebuilding(), loaders()
    recording = record(lambda: train(model, torch.optim.SGD(model.parameters(), 0.1), train_loader, val_loader))
    seen = {(r.kind, r.weights) for r in recording.rebuilt.values() if len(r.turns) > 1}
    assert seen == {("Linear", 36), ("LayerNorm", 0)}


def test_forwards_that_reach_no_backward_are_none_of_training_and_are_let_go() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    kept: list[weakref.ref[torch.Tensor]] = []

    def run() -> None:
        for i in range(30):
            loss = model(torch.randn(3, 4)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if i % 5 == 0:
                model.eval()
                shown = model(torch.randn(3, 4))
                kept.append(weakref.ref(shown))
                del shown
                model.train()

    seen = record(run)
    trained = [c for c in seen.calls if c.trained]
    assert len(trained) == len(seen.steps)
    assert all(c.training for c in trained)
    assert sum(ref() is not None for ref in kept) <= 1  # its tape is the last that was written


def test_the_tape_of_a_long_validation_before_training_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainlint.record.tapewriter._IDLE_BYTES", 10 * 64 * 4)
    model = nn.Linear(4, 64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    kept: list[weakref.ref[torch.Tensor]] = []

    def run() -> None:
        with torch.no_grad():
            for _ in range(40):
                kept.append(weakref.ref(model(torch.randn(4, 4))))
        assert sum(ref() is not None for ref in kept) < 8
        for _ in range(30):
            loss = model(torch.randn(3, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    assert record(run).trust == "next step"


@pytest.mark.parametrize("deterministic", [False, True])
def test_an_engine_that_counts_its_iterations_ends_an_epoch_that_is_cut_short(deterministic: bool) -> None:
    """ignite would begin the loader again, and never validate."""
    engine = pytest.importorskip("ignite.engine")
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trainer = engine.create_supervised_trainer(model, optimizer, F.cross_entropy, deterministic=deterministic)
    evaluator = engine.create_supervised_evaluator(model)
    trainer.add_event_handler(engine.Events.EPOCH_COMPLETED, lambda: evaluator.run(val_loader))
    recording = record(lambda: trainer.run(train_loader, max_epochs=5))
    trained = [i for entry in recording.loaders_of("train") for i in entry.iterations]
    assert [i.batches for i in trained] == [6, 2]
    assert [i.batches for i in recording.loaders_of("val")[0].iterations] == [2]
    assert trained[0].indices[:6] != trained[1].indices[:6]


def test_the_first_tape_of_each_of_two_optimizers_in_turns_is_kept() -> None:
    first, second, (train_loader, val_loader) = nn.Linear(6, 3), nn.Linear(3, 3), loaders()
    optimizers: list[torch.optim.Optimizer] = []

    def each(i: int, x: torch.Tensor, y: torch.Tensor) -> None:
        if not optimizers:
            optimizers.extend(torch.optim.SGD(m.parameters(), 0.1) for m in (first, second))
        one, other = optimizers
        one.zero_grad()
        first(x).square().mean().backward()
        one.step()
        other.zero_grad()
        F.cross_entropy(second(first(x).detach()), y).backward()
        other.step()

    recording = record(lambda: train(first, None, train_loader, val_loader, each=each))
    assert [b.index for b in recording.first_tapes] == [0]
    assert [(b.index, b.tape.operations[-1].name) for b in recording.turn_tapes if b.tape] == [(1, "cross_entropy")]


def test_a_library_that_traces_a_model_gets_its_graph_while_scripts_run_in_the_open() -> None:
    graphs = pytest.importorskip("torch.utils.tensorboard._pytorch_graph")
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def run() -> None:
        assert graphs.graph(model, torch.randn(2, 4))[0].node
        assert torch.jit.script(model) is model
        for _ in range(20):
            loss = model(torch.randn(3, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    seen = record(run)
    assert seen.trust == "next step"
    assert torch.jit.script(model) is not model


@pytest.mark.parametrize(("keeps_graph", "seen"), [(False, True), (True, False)])
def test_derivatives_that_update_weights_by_hand_are_a_backward_pass(keeps_graph: bool, seen: bool) -> None:
    model, (train_loader, _) = nn.Linear(6, 3), loaders()

    def run() -> None:
        for x, y in train_loader:
            loss = F.cross_entropy(model(x), y)
            given = torch.autograd.grad(loss, list(model.parameters()), create_graph=keeps_graph)
            with torch.no_grad():
                for p, g in zip(model.parameters(), given, strict=True):
                    p -= 0.1 * g

    recording = record(run)
    assert bool(recording.backwards) is seen
    assert all(b.norms.keys() == {id(p) for p in model.parameters()} for b in recording.backwards if b.norms)


def test_derivatives_beside_an_optimizer_are_not_its_backward_pass() -> None:
    model, (train_loader, val_loader) = nn.Linear(6, 3), loaders()

    def each(i: int, x: torch.Tensor, y: torch.Tensor) -> None:
        loss = F.cross_entropy(model(x), y)
        torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recording = record(lambda: train(model, optimizer, train_loader, val_loader, each=each))
    assert len(recording.backwards) == len(recording.steps)


def test_steps_that_cannot_be_taped_are_not_said_to_be_missing() -> None:
    model, (train_loader, val_loader) = Rebuilding(), loaders()
    recording = record(lambda: train(model, torch.optim.SGD(model.parameters(), 0.1), train_loader, val_loader))
    assert (recording.trust, recording.trust_reason) == ("none", "its operations could not be followed to the loss")


def test_the_first_weights_of_a_model_that_is_updated_by_hand_are_kept() -> None:
    model = nn.Linear(4, 1)
    first = model.weight.detach().clone()

    def run() -> None:
        for _ in range(10):
            model.zero_grad()
            model(torch.randn(3, 4)).square().mean().backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.1 * parameter.grad

    assert torch.equal(record(run).initial[id(model.weight)], first)


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_training_pass_that_ends_in_its_first_batch_is_no_validation(epochs: int) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def run() -> None:
        for epoch in range(epochs + 1):
            for (batch,) in DataLoader(TensorDataset(torch.randn(8, 4)), 4):
                loss = model(batch).mean()
                if epoch == epochs:
                    return
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    seen = record(run)
    seen.status = "crashed"
    assert not measure_loop(seen, 0.0, Settings()).validation


def test_a_generator_that_counts_on_its_next_batch_is_not_broken_off() -> None:
    class Endless(DataLoader):
        def __iter__(self):
            iterator = super().__iter__()
            for _ in range(len(self)):
                yield next(iterator)

    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def run() -> None:
        for _ in range(2):
            for (batch,) in Endless(TensorDataset(torch.randn(160, 4)), 4):
                optimizer.zero_grad()
                model(batch).mean().backward()
                optimizer.step()

    assert len(record(run).steps) > 10


def test_no_batch_of_the_first_training_is_taken_for_one_of_the_second() -> None:
    first, second = (DataLoader(TensorDataset(torch.randn(200, 6), torch.arange(200) % 3), 10) for _ in range(2))
    recordings: list[Recording] = []
    recorder = Recorder(Settings(), Frames(), recordings.append)
    recorder.most_trainings = 2

    def fit(loader: DataLoader[tuple[torch.Tensor, ...]], optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
        for _ in range(3):
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()

    with listening(recorder), suppress(StopRecording):
        model = nn.Linear(6, 3)
        fit(first, torch.optim.SGD(model.parameters(), 0.1), model)
        fit(second, torch.optim.SGD(model.parameters(), 0.1), model)
    assert [{b.iteration.loader.loader for b in r.batches if b.iteration} for r in recordings] == [{first}, {second}]
