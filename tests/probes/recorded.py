"""Records what a function trains, as a scan of a script would."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from trainlint.measurements import BatchView
from trainlint.probes.data.batches import measure_batches
from trainlint.record.frames import Frames
from trainlint.record.hooks import listening
from trainlint.record.recorder import Recorder, StopRecording
from trainlint.record.recording import Recording
from trainlint.settings import Settings

__all__ = ["Net", "classify", "conv", "first", "fit", "measured", "record", "roles", "train"]


def record(
    run: Callable[[], Any], settings: Settings | None = None, then: Callable[[Recording], Any] = lambda recording: None
) -> Recording:
    """What the recorder saw of ``run()``; ``then`` is called with it at its end, while what trains still runs."""
    recorder = Recorder(settings or Settings(), Frames(), then)
    with listening(recorder), suppress(StopRecording):
        run()
    recorder.finish()
    return recorder.recording


def train(
    model: nn.Module, loader: Iterable[Any], loss: Callable[[nn.Module, Any], Tensor], optimizer: Optimizer | None = None
) -> Recording:
    """The recording of :func:`fit`."""
    return record(lambda: fit(model, loader, loss, optimizer))


def fit(model: nn.Module, loader: Iterable[Any], loss: Callable[[nn.Module, Any], Tensor], optimizer: Optimizer | None = None) -> None:
    """A plain loop; ``loss(model, batch)`` gives what goes to backward()."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(2):
        for batch in loader:
            optimizer.zero_grad()
            loss(model, batch).backward()
            optimizer.step()


def classify(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """The cross-entropy of ``(inputs, class indices)``."""
    return F.cross_entropy(model(batch[0]), batch[1])


class Net(nn.Module):
    """A model made of named layers and a forward function of itself and its inputs."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.run = forward

    def forward(self, *inputs: Any) -> Any:
        return self.run(self, *inputs)


def measured(probe: Callable[..., Any], recording: Recording, seconds: float = 60.0) -> Any:
    """What a probe makes of a recording."""
    with torch.enable_grad():
        return probe(recording, time.monotonic() + seconds, Settings())


def conv(channels: int = 3, classes: int = 4) -> nn.Module:
    """A small convolutional classifier."""
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))


def roles(view: BatchView) -> dict[str, tuple[str, str]]:
    """``{path: (role, kind)}`` of a batch's tensors."""
    return {leaf.path: (leaf.role, leaf.kind) for leaf in view.leaves}


def first(recording: Recording) -> BatchView:
    """The first training batch of a recording."""
    return measured(measure_batches, recording).train[0]
