"""Trainings in processes of their own run in the scan's one process."""

from __future__ import annotations

import functools
import multiprocessing
import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from trainlint.record.frames import Frames
from trainlint.record.hooks import listening
from trainlint.record.processes import one_process, trains
from trainlint.record.recorder import Recorder
from trainlint.record.recording import Recording
from trainlint.settings import Settings


class Trainer:
    def fit(self, model: nn.Module) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loss = model(torch.ones(2, 3)).sum()
        loss.backward()
        optimizer.step()


def train(rank: int, world_size: int, model: nn.Module) -> None:
    dist.init_process_group("gloo", init_method="tcp://127.0.0.1:1", rank=rank, world_size=world_size)
    try:
        assert (dist.get_rank(), dist.get_world_size()) == (0, 1)
        trainer = Trainer()
        Trainer.fit(trainer, model)
    finally:
        dist.destroy_process_group()


def fetch(path: str) -> None:
    os.close(os.open(path, os.O_CREAT))


def recorded(run) -> Recording:
    recorder = Recorder(Settings(), Frames(), lambda recording: None)
    before = dict(os.environ)
    try:
        with listening(recorder), one_process(recorder):
            run()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return recorder.recording


def test_what_is_spawned_runs_here_as_rank_0_of_1():
    recording = recorded(lambda: mp.spawn(train, args=(2, nn.Linear(3, 1)), nprocs=2))
    assert len(recording.steps) == 1
    assert "spawns 2 processes" in recording.notes[0]


def test_a_process_that_trains_runs_here_and_the_others_start_as_they_would(tmp_path):
    def run() -> None:
        other = multiprocessing.get_context("fork").Process(target=fetch, args=(str(tmp_path / "made"),))
        other.start()
        other.join()
        process = mp.Process(target=train, args=(0, 2, nn.Linear(3, 1)))
        process.start()
        process.join()

    assert len(recorded(run).steps) == 1
    assert (tmp_path / "made").exists()


def test_training_is_read_off_the_functions_that_are_called():
    frames = Frames()
    assert trains(train, frames)
    assert trains(functools.partial(train, 0), frames)
    assert trains(Trainer().fit, frames)
    assert not trains(fetch, frames)
    assert not trains(os.getpid, frames)
    assert not trains(None, frames)
