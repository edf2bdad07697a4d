"""Loops whose steps are followed although torch tells less of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from trainlint.record.frames import Frames
from trainlint.record.hooks import listening
from trainlint.record.recorder import Recorder, StopRecording
from trainlint.record.recording import Recording
from trainlint.settings import Settings

X = torch.randn(64, 6)


def recorded(run: Callable[[], None]) -> Recording:
    recorder = Recorder(Settings(), Frames(), lambda recording: None)
    with listening(recorder), contextlib.suppress(StopRecording):
        run()
    recorder.finish()
    return recorder.recording


def test_a_loop_that_updates_the_weights_itself_is_followed_from_step_to_step() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    def run() -> None:
        for _ in range(6):
            rows = torch.randint(64, (16,))
            model.zero_grad()
            F.cross_entropy(model(X[rows]), X[rows, :3].argmax(1)).backward()
            for parameter in model.parameters():
                parameter.data.add_(parameter.grad, alpha=-0.1)

    recording = recorded(run)
    assert recording.trust == "next step", recording.trust_reason


def test_a_tensor_that_is_made_a_subclass_on_its_way_is_followed() -> None:
    class Named(torch.Tensor):
        pass

    model = nn.Linear(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def run() -> None:
        for _ in range(6):
            rows = torch.randint(64, (16,))
            optimizer.zero_grad()
            out = model(X[rows].as_subclass(Named))
            F.cross_entropy(out.as_subclass(Named), X[rows, :3].argmax(1)).backward()
            optimizer.step()

    recording = recorded(run)
    assert recording.trust == "next step", recording.trust_reason
    assert "as_subclass" in {op.name for op in recording.tape.operations}
