"""Workers played in this process: which sources of randomness differ between them, and between epochs."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, get_worker_info

from probes.recorded import measured, train
from trainlint.measurements import WorkerSeeds
from trainlint.probes.data.worker_seeds import measure_worker_seeds


class Rows(Dataset):
    def __init__(self, draw=lambda data, index: 0.0) -> None:
        self.rows = torch.randn(80, 6, generator=torch.Generator().manual_seed(0))
        self.draw = draw

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int):
        return self.rows[index] + float(self.draw(self, index)), index % 4


class Held(Rows):
    def __init__(self) -> None:
        super().__init__(lambda data, index: data.rng.random())
        self.rng = np.random.default_rng(0)


GLOBAL = (lambda data, index: torch.rand(()), lambda data, index: np.random.rand(), lambda data, index: random.random())


def seeds(data: Dataset, workers: int = 2, **options) -> WorkerSeeds:
    loader = DataLoader(data, 10, num_workers=0, shuffle=True)
    recording = train(nn.Linear(6, 4), loader, lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    loader.num_workers = workers  # recorded without, so that the test starts no processes
    for name, value in options.items():
        setattr(loader, name, value)
    return measured(measure_worker_seeds, recording)


@pytest.mark.parametrize("draw", GLOBAL)
def test_global_generators_differ_in_workers_and_epochs(draw):
    found = seeds(Rows(draw))
    assert (found.random, found.samples) == (True, 16)
    assert (found.same_in_workers, found.same_in_epochs) == (False, False)
    assert found.resets == ()


def test_a_held_generator_is_copied_and_left_as_it_was():
    data = Held()
    before = data.rng.bit_generator.state
    found = seeds(Subset(data, range(60)))
    assert (found.same_in_workers, found.same_in_epochs, found.by_init) == (True, True, False)
    assert found.held == ("numpy.Generator",)
    data.rng.bit_generator.state = before
    found = measured(measure_worker_seeds, train(nn.Linear(6, 4), DataLoader(data, 80), lambda m, b: F.cross_entropy(m(b[0]), b[1])))
    after = data.rng.random()
    data.rng.bit_generator.state = before
    [data.rng.random() for _ in range(160)]
    assert after == data.rng.random()
    assert found.workers == 0


@pytest.mark.parametrize(
    ("init", "workers", "epochs"),
    [
        (lambda worker: np.random.seed(7), True, True),
        (lambda worker: np.random.seed(worker), False, True),
        (lambda worker: np.random.seed(torch.initial_seed() % 2**32), False, False),
        (lambda worker: np.random.seed(np.random.get_state()[1][0] + worker), False, False),
    ],
)
def test_init_functions_by_what_they_seed_with(init, workers, epochs):
    found = seeds(Rows(GLOBAL[1]), worker_init_fn=init)
    assert (found.same_in_workers, found.same_in_epochs) == (workers, epochs)
    assert found.by_init == (workers or epochs)


def test_an_init_function_that_gives_each_worker_its_generator():
    def init(worker: int) -> None:
        info = get_worker_info()
        info.dataset.dataset.rng = np.random.default_rng(info.seed)

    data = Held()
    own = data.rng
    found = seeds(Subset(data, range(60)), worker_init_fn=init)
    assert (found.same_in_workers, found.same_in_epochs) == (False, False)
    assert data.rng is own


def test_seeding_by_a_constant_where_samples_are_read():
    def draw(data, index):
        random.seed(0)
        return random.random()

    assert seeds(Rows(draw), workers=0).resets == ("random",)
    found = seeds(Rows(lambda data, index: random.Random(index).random()))
    assert (found.random, found.resets) == (False, ())


def test_seeding_by_the_index_is_a_choice():
    def draw(data, index):
        torch.manual_seed(index)
        return torch.rand(())

    assert seeds(Rows(draw)).resets == ()


class Stream(IterableDataset):
    def __init__(self, shared_out: bool) -> None:
        self.rows, self.shared_out = torch.randn(80, 6, generator=torch.Generator().manual_seed(0)), shared_out

    def __iter__(self):
        info = get_worker_info()
        rows = range(80)[info.id :: info.num_workers] if info is not None and self.shared_out else range(80)
        return ((self.rows[i], i % 4) for i in rows)


@pytest.mark.parametrize(("shared_out", "shared"), [(False, 16), (True, 0)])
def test_a_stream_that_every_worker_reads_whole(shared_out: bool, shared: int):
    loader = DataLoader(Stream(shared_out), 10)
    recording = train(nn.Linear(6, 4), loader, lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    loader.num_workers = 2
    found = measured(measure_worker_seeds, recording)
    assert (found.stream, found.stream_shared) == (16, shared)


@pytest.mark.parametrize("seed", [None, lambda: (torch.manual_seed(3), np.random.seed(3))])
def test_a_seed_that_is_set_in_each_epoch_is_seen(seed):
    loader = DataLoader(Rows(GLOBAL[1]), 10, shuffle=True)
    recording = train(nn.Linear(6, 4), Seeded(loader, seed), lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    found = measured(measure_worker_seeds, recording)
    assert found.begins_again == (("torch", "numpy") if seed else ())
    assert (found.seeded_where is not None) == (seed is not None)


class Seeded:
    """A loader whose passes begin with a call."""

    def __init__(self, loader, first) -> None:
        self.loader, self.first = loader, first or (lambda: None)

    def __iter__(self):
        self.first()
        return iter(self.loader)


def line_of(mark: str) -> int:
    return next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if text.endswith(f"# {mark}"))


def jitter(row, rng):
    return row * rng.uniform(0.9, 1.1)


class Jittered(Rows):
    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(0)  # held

    def __getitem__(self, index: int):
        noise = torch.randn(6)
        row = jitter(self.rows[index], self.rng)
        return row + noise * 0, index % 4


class Reseeded(Rows):
    def __getitem__(self, index: int):
        row = self.rows[index]
        np.random.seed(3)  # reset
        return row + np.random.rand() + torch.rand(()), index % 4


def seeding(worker: int) -> None:
    torch.manual_seed(worker)
    np.random.seed(7)  # init


class Sharded(IterableDataset):
    def __init__(self) -> None:
        self.shards = torch.arange(64.0).view(16, 4)

    def __iter__(self):
        shards = list(self.shards)
        for shard in shards:  # stream
            for row in shard:
                yield row, 0


@pytest.mark.parametrize(
    ("data", "options", "mark"),
    [
        (Jittered(), {}, "held"),
        (Reseeded(), {}, "reset"),
        (Rows(lambda data, index: np.random.rand()), {"worker_init_fn": seeding}, "init"),
    ],
)
def test_the_line_that_makes_the_generator_or_seeds(data: Dataset, options: dict, mark: str):
    found = seeds(data, **options)
    assert found.drawn_where is not None
    assert found.drawn_where.line == line_of(mark)


def test_the_loop_of_a_stream_that_gives_out_samples():
    loader = DataLoader(Sharded(), 4, num_workers=0)
    recording = train(nn.Linear(1, 4), loader, lambda m, b: F.cross_entropy(m(b[0][:, None]), b[1]))
    loader.num_workers = 2
    found = measured(measure_worker_seeds, recording)
    assert found.stream_shared == found.stream
    assert found.drawn_where is not None
    assert found.drawn_where.line == line_of("stream")


def test_no_line_is_named_where_nothing_repeats():
    assert seeds(Rows(GLOBAL[1])).drawn_where is None
