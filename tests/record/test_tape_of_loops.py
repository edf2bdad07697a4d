"""What loops do between their steps, and what becomes of it on the tape."""

from __future__ import annotations

import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.probes.step.replay import rehearsal
from trainlint.record.frames import Frames
from trainlint.record.hooks import listening
from trainlint.record.recorder import Recorder
from trainlint.settings import Settings

Batch = tuple[Tensor, ...]


def test_a_state_that_is_detached_from_the_step_before_is_a_constant() -> None:
    """Truncated backpropagation: the tape begins before the state is detached."""
    torch.manual_seed(0)
    rnn, head = nn.GRU(4, 8, batch_first=True), nn.Linear(8, 3)
    optimizer = torch.optim.SGD([*rnn.parameters(), *head.parameters()], 0.1)
    recorder = Recorder(Settings(), Frames(), lambda recording: None)
    state = torch.zeros(1, 5, 8)
    with listening(recorder):
        for _ in range(3):
            state = state.detach()
            outputs, state = rnn(torch.randn(5, 6, 4), state)
            loss = F.cross_entropy(head(outputs[:, -1]), torch.randint(3, (5,)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    recorder.finish()
    assert recorder.recording.trust == "next step"


def test_a_loop_without_a_loader_keeps_the_data_of_later_steps() -> None:
    """They are fed in turn, so that a learning rate is not judged on one batch alone; data that never changes is one batch."""
    for fixed in (False, True):
        torch.manual_seed(0)
        model, x, y = nn.Linear(4, 2), torch.randn(3, 4), torch.randint(0, 2, (3,))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        recorder = Recorder(Settings(), Frames(), lambda recording: None)
        with listening(recorder):
            for _ in range(8):
                if not fixed:
                    x, y = torch.randn(3, 4), torch.randint(0, 2, (3,))
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
        recorder.finish()
        with rehearsal(recorder.recording, batches=True) as trial:
            assert (len(trial.fills) == 1) == fixed
            assert len({float(trial.loss(fill, grad=False)) for fill in trial.fills}) == len(trial.fills)


def test_outputs_that_are_collected_in_an_empty_tensor_are_replayed() -> None:
    torch.manual_seed(0)
    cell, head = nn.GRUCell(4, 8), nn.Linear(8, 3)
    optimizer = torch.optim.SGD([*cell.parameters(), *head.parameters()], 0.1)
    recorder = Recorder(Settings(), Frames(), lambda recording: None)
    with listening(recorder):
        for _ in range(3):
            state, outputs, words = torch.zeros(5, 8), torch.zeros(6, 5, 3), torch.randn(6, 5, 4)
            for t in range(6):
                state = cell(words[t], state)
                outputs[t] = head(state)
            optimizer.zero_grad()
            F.cross_entropy(outputs.view(-1, 3), torch.randint(3, (30,))).backward()
            optimizer.step()
    recorder.finish()
    assert recorder.recording.trust == "next step", recorder.recording.trust_reason


def test_a_constant_that_the_loop_fills_anew_keeps_its_value_on_the_tape() -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(4, 1), torch.randn(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = Recorder(Settings(), Frames(), lambda recording: None)
    with listening(recorder):
        (x,) = next(iter(DataLoader(TensorDataset(x), 8)))
        label = torch.full((8,), 1.0)
        model.zero_grad()
        F.binary_cross_entropy_with_logits(model(x).view(-1), label).backward()
        label.fill_(0.0)
    tape = recorder.recording.backwards[0].tape
    assert tape is not None
    assert float(tape.replay(grad=False)[tape.loss]) == pytest.approx(tape.value)
    optimizer.step()


def test_activations_die_with_the_step_that_made_them():
    recorder, made = Recorder(Settings(), Frames()), []
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))
    model[0].register_forward_hook(lambda module, given, output: made.append(weakref.ref(output)))
    with listening(recorder):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for (x,) in DataLoader(TensorDataset(torch.randn(12, 4)), 4):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            assert made[-1]() is None
            optimizer.step()
    recorder.finish()
    assert recorder.recording.trust == "next step"


def test_a_conversion_that_converts_nothing_is_no_operation() -> None:
    """Frameworks move what is already there, at each backward() of an accumulation once more; the steps call the same all the same."""
    model, count = nn.Linear(4, 2), torch.tensor(6.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = Recorder(Settings(), Frames(), lambda recording: None)
    with listening(recorder):
        for step in range(3):
            x, y = torch.randn(3, 4), torch.randint(0, 2, (3,))
            for _ in range(step):
                x = x.to("cpu").float().contiguous()
            optimizer.zero_grad()
            (F.cross_entropy(model(x), y.long(), reduction="sum") / count.to(x.device)).backward()
            optimizer.step()
    recorder.finish()
    assert recorder.recording.trust == "next step", recorder.recording.trust_reason
    assert {op.name for op in recorder.recording.tape.operations} == {"linear", "cross_entropy", "div"}


@pytest.mark.parametrize("lengths", [(2, 3, 2, 3), (2, 3, 4, 5, 5, 3, 2)])
def test_steps_of_other_lengths_between_are_passed_over(lengths: tuple[int, ...]) -> None:
    """A loop over the length of a batch calls other operations at each; the next batch of a length seen before tells."""
    cell, head = nn.GRUCell(4, 8), nn.Linear(8, 3)
    optimizer = torch.optim.SGD([*cell.parameters(), *head.parameters()], 0.1)
    recorder = Recorder(Settings(), Frames(), lambda recording: None)
    with listening(recorder):
        for length in lengths:
            state = torch.zeros(5, 8)
            for word in torch.randn(length, 5, 4):
                state = cell(word, state)
            optimizer.zero_grad()
            F.cross_entropy(head(state), torch.randint(3, (5,))).backward()
            optimizer.step()
    recorder.finish()
    assert recorder.recording.trust == "next step", recorder.recording.trust_reason


@pytest.mark.parametrize("made", [False, True])
def test_a_loss_of_derivatives_is_replayed(made: bool) -> None:
    """As of a differential equation, or a penalty on gradients; points that are drawn anew are the data of the steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    recorder = Recorder(Settings(), Frames(), lambda recording: None)
    with listening(recorder):
        for _ in range(8):
            x = (torch.rand(6, 1) * 2 - 1).requires_grad_() if made else torch.rand(6, 1, requires_grad=True)
            u = model(x)
            (slope,) = torch.autograd.grad(u, x, torch.ones_like(u), create_graph=True)
            optimizer.zero_grad()
            (slope + u).square().mean().backward()
            optimizer.step()
    recorder.finish()
    assert recorder.recording.trust == "next step", recorder.recording.trust_reason
    with rehearsal(recorder.recording, batches=True) as trial:
        assert len({float(trial.loss(fill, grad=False)) for fill in trial.fills}) == len(trial.fills) > 1
        assert not trial.loss(grad=False).requires_grad
        loss = trial.loss()
        assert all(g is not None and bool(g.any()) for g in trial.gradients(loss)[:2])


@pytest.mark.parametrize(
    ("when", "trust"), [("before its forward", "next step"), ("after its forward", "none"), ("after the step", "next step")]
)
def test_a_teacher_that_moves_on_is_played_with_what_it_is_then(when: str, trust: str) -> None:
    """A momentum copy that is moved within the step, before it makes the targets, is a constant of the step."""
    torch.manual_seed(0)
    student, teacher = nn.Linear(4, 3), nn.Linear(4, 3).requires_grad_(False)
    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    loader = DataLoader(TensorDataset(torch.randn(96, 4)), 4, shuffle=True)

    @torch.no_grad()
    def move(now: str) -> None:
        if now == when:
            for mine, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
                mine.data = 0.9 * mine.data + 0.1 * theirs.data

    recorder = Recorder(Settings(), Frames(), lambda recording: None)
    with listening(recorder):
        for step, (x,) in enumerate(loader):
            if step == 4:
                break
            move("before its forward")
            aim = teacher(x).softmax(-1)
            move("after its forward")
            optimizer.zero_grad()
            F.cross_entropy(student(x), aim).backward()
            optimizer.step()
            move("after the step")
    recorder.finish()
    recording = recorder.recording
    assert recording.trust == trust
    if trust != "none":
        assert {id(t) for t in recording.tape.leaves.values()} == {id(p) for p in student.parameters()}
