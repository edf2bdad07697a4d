"""Small loops that are recorded, and the recording of one."""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from trainlint.record.frames import Frames
from trainlint.record.hooks import listening
from trainlint.record.recorder import Recorder, StopRecording
from trainlint.record.recording import Recording
from trainlint.settings import Settings

__all__ = ["loaders", "record", "train"]


def loaders(batch_size: int = 4, workers: int = 0) -> tuple[DataLoader, DataLoader]:
    data = TensorDataset(torch.randn(400, 6), torch.randint(0, 3, (400,)))
    return DataLoader(data, batch_size, shuffle=True, num_workers=workers), DataLoader(data, batch_size)


def record(run) -> Recording:
    recorder = Recorder(Settings(), Frames(), lambda recording: None)
    with listening(recorder), contextlib.suppress(StopRecording):
        run()
    recorder.finish()
    return recorder.recording


def train(model, optimizer, train_loader, val_loader, epochs=5, each=None) -> None:
    for _ in range(epochs):
        model.train()
        for i, (x, y) in enumerate(train_loader):
            if each is None:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            else:
                each(i, x, y)
        model.eval()
        with torch.no_grad():
            for x, _ in val_loader:
                model(x)
