"""The order of samples: shuffled or not, the same in every epoch or not, sorted by label or not."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import (
    BatchSampler,
    ChainDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    TensorDataset,
    WeightedRandomSampler,
)

from probes.recorded import classify, fit, measured, record, train
from trainlint.measurements import SampleOrder
from trainlint.probes.data.datasets import Samples
from trainlint.probes.data.sample_order import expected_runs, measure_sample_order
from trainlint.probes.data.streams import streamed_at
from trainlint.probes.errors import CannotMeasureError
from trainlint.record.frames import Frames


def data(labels: torch.Tensor) -> TensorDataset:
    return TensorDataset(torch.randn(len(labels), 4), labels)


def order(loader, loss=classify) -> SampleOrder:
    torch.manual_seed(0)
    return measured(measure_sample_order, train(nn.Linear(4, 10), loader, loss))


def test_a_shuffled_loader_differs_from_epoch_to_epoch_and_mixes_labels():
    found = order(DataLoader(data(torch.arange(2000) // 200), 20, shuffle=True))
    assert (found.sampler, found.dataset, found.size, found.batch_size) == ("RandomSampler", "TensorDataset", 2000, 20)
    assert found.same_each_epoch is False
    assert not found.sequential
    assert len(found.first_epoch) == 2000
    assert sorted(found.first_epoch) == list(range(2000))
    assert abs(found.runs_z) < 4
    assert found.batch_label_share is not None
    assert found.batch_label_share < 0.4
    assert found.overall_label_share == pytest.approx(0.1)
    assert not found.random_dataset
    assert found.where is not None


def test_labels_sorted_by_class_have_far_too_few_runs():
    found = order(DataLoader(data(torch.arange(2000) // 200), 20))
    assert found.sequential
    assert found.same_each_epoch is True
    assert found.label_runs == 10
    assert found.expected_runs == pytest.approx(1801)
    assert found.runs_z < -30
    assert found.batch_label_share == 1.0


def test_the_beginning_of_a_long_sorted_dataset_is_compared_with_all_of_it():
    found = order(DataLoader(data(torch.arange(50_000) // 5000), 100))
    assert len(found.first_epoch) == 4096
    assert found.label_runs == 1
    assert found.expected_runs == pytest.approx(1 + 4095 * 0.9)
    assert found.runs_z < -100
    assert (found.batch_label_share, found.overall_label_share) == (1.0, pytest.approx(0.1))


def test_an_unshuffled_loader_over_shuffled_labels_is_unremarkable():
    labels = torch.randint(0, 10, (2000,), generator=torch.Generator().manual_seed(0))
    found = order(DataLoader(data(labels), 20))
    assert found.sequential
    assert abs(found.runs_z) < 4


def test_a_seed_set_anew_in_each_epoch_repeats_the_order():
    model, loader = nn.Linear(4, 10), DataLoader(data(torch.arange(400) % 10), 20, shuffle=True)

    def run() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            torch.manual_seed(0)
            for batch in loader:
                classify(model, batch).backward()
                optimizer.step()

    found = measured(measure_sample_order, record(run))
    assert found.same_each_epoch is True
    assert not found.sequential
    assert found.first_epoch[: len(found.second_epoch)] == found.second_epoch[: len(found.first_epoch)]


def test_a_fixed_permutation_is_known_by_a_copy_of_its_sampler():
    class Fixed(Sampler):
        def __init__(self, indices: list[int]) -> None:
            self.indices = indices

        def __iter__(self):
            return iter(self.indices)

        def __len__(self) -> int:
            return len(self.indices)

    indices = torch.randperm(400, generator=torch.Generator().manual_seed(3)).tolist()
    found = order(DataLoader(data(torch.arange(400) % 10), 20, sampler=Fixed(indices)))
    assert found.same_each_epoch is True
    assert found.sampler == "Fixed"
    assert list(found.first_epoch) == indices


def test_the_users_own_generator_is_not_moved():
    generator = torch.Generator().manual_seed(1)
    loader = DataLoader(data(torch.arange(400) % 10), 20, shuffle=True, generator=generator)
    torch.manual_seed(0)
    recording = train(nn.Linear(4, 10), loader, classify)
    before = generator.get_state()
    assert measured(measure_sample_order, recording).same_each_epoch is False
    assert torch.equal(generator.get_state(), before)


def test_the_sampler_inside_a_batch_sampler_is_named():
    inner = RandomSampler(range(400))

    class Shard:
        def __init__(self, batch_sampler: BatchSampler) -> None:
            self.batch_sampler = batch_sampler
            self.batch_size = batch_sampler.batch_size

        def __iter__(self):
            return iter(self.batch_sampler)

        def __len__(self) -> int:
            return len(self.batch_sampler)

    found = order(DataLoader(data(torch.arange(400) % 10), batch_sampler=Shard(BatchSampler(inner, 20, False))))
    assert (found.sampler, found.batch_size, found.same_each_epoch) == ("RandomSampler", 20, False)


def test_distributed_sampler_without_set_epoch():
    dataset = data(torch.arange(400) % 10)

    def run_with(set_epoch: bool):
        sampler = DistributedSampler(dataset, num_replicas=2, rank=0)
        model, loader = nn.Linear(4, 10), DataLoader(dataset, 20, sampler=sampler)

        def run() -> None:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for epoch in range(2):
                if set_epoch:
                    sampler.set_epoch(epoch)
                for batch in loader:
                    classify(model, batch).backward()
                    optimizer.step()

        return measured(measure_sample_order, record(run))

    without, used = run_with(False), run_with(True)
    assert (without.distributed, without.set_epoch_called, without.same_each_epoch) == (True, False, True)
    assert (used.distributed, used.set_epoch_called, used.same_each_epoch) == (True, True, False)


def test_a_look_at_one_batch_before_each_epoch_is_no_epoch():
    dataset = data(torch.arange(400) % 10)
    sampler = DistributedSampler(dataset, num_replicas=1, rank=0)
    model, loader = nn.Linear(4, 10), DataLoader(dataset, 20, sampler=sampler)

    def run() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(3):
            next(iter(loader))
            sampler.set_epoch(epoch)
            for batch in loader:
                classify(model, batch).backward()
                optimizer.step()

    recording = record(run)
    assert len([i for i in recording.loaders[0].iterations if i.phase == "train"]) == 2
    found = measured(measure_sample_order, recording)
    assert (found.set_epoch_called, found.same_each_epoch) == (True, False)


def test_a_dataset_that_draws_its_own_samples_is_told_from_augmentation():
    class Pairs(Dataset):
        def __len__(self) -> int:
            return 200

        def __getitem__(self, index: int):
            same = random.randint(0, 1)
            return torch.rand(4) + same, same

    class Augmented(Pairs):
        def __getitem__(self, index: int):
            return torch.full((4,), float(index)) + torch.rand(4), index % 2

    class Flipped(Pairs):
        def __getitem__(self, index: int):
            x = torch.rand(4, generator=torch.Generator().manual_seed(index))
            return x.flip(0) if random.random() < 0.5 else x, index % 2

    class Matched(Pairs):
        def __getitem__(self, index: int):
            return torch.rand(4), index % 2

    class Crops(Dataset):
        def __len__(self) -> int:
            return 200

        def __getitem__(self, index: int):
            start = random.randint(0, 900)
            return torch.sin(torch.arange(start, start + 8) * 0.7)

    random.seed(0)
    assert order(DataLoader(Pairs(), 20)).random_dataset
    assert order(DataLoader(Matched(), 20)).random_dataset
    assert not order(DataLoader(Augmented(), 20)).random_dataset
    assert not order(DataLoader(Flipped(), 20)).random_dataset
    crops = train(nn.Linear(8, 8), DataLoader(Crops(), 20), lambda m, x: F.mse_loss(m(x), x))
    assert measured(measure_sample_order, crops).random_dataset


def test_an_iterable_dataset_has_labels_but_no_indices():
    class Stream(IterableDataset):
        def __iter__(self):
            return ((torch.randn(4), i // 30) for i in range(120))

    found = order(DataLoader(Stream(), 10))
    assert found.iterable
    assert found.size is None
    assert found.first_epoch == ()
    assert found.labels[:31] == (0.0,) * 30 + (1.0,)
    assert found.runs_z < -3
    assert found.streamed_where is not None
    assert found.streamed_where.text.startswith("return ((torch.randn(4)")


def test_a_stream_is_ordered_where_the_innermost_hands_out():
    class Files(IterableDataset):
        def read(self, file):
            yield from ((torch.randn(4), file) for _ in range(60))

        def __iter__(self):
            for file in range(4):
                yield from self.read(file)

    class Doubled(IterableDataset):
        def __init__(self, inner):
            self.inner = inner

        def __iter__(self):
            for x, y in self.inner:
                yield 2 * x, y

    found = order(DataLoader(Doubled(Files()), 10))
    assert found.streamed_where is not None
    assert found.streamed_where.text == "for file in range(4):"
    assert streamed_at(Samples(DataLoader(Doubled(ChainDataset([Files()])))), Frames()) is None
    assert order(DataLoader(data(torch.arange(400) % 10), 20)).streamed_where is None


def test_an_endless_sampler_is_not_listed():
    dataset = data(torch.arange(400) % 10)
    found = order(DataLoader(dataset, 20, sampler=RandomSampler(dataset, replacement=True, num_samples=10**10)))
    assert len(found.first_epoch) == 4096
    assert found.same_each_epoch is False


def test_a_loop_without_a_loader_has_no_order():
    with pytest.raises(CannotMeasureError, match="without a DataLoader"):
        measured(measure_sample_order, record(lambda: None))


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 1, 2, 2], [0, 0, 0, 1, 2]])
def test_runs_have_the_mean_and_spread_of_all_permutations(labels):
    runs = [sum(1 for _ in itertools.groupby(p)) for p in itertools.permutations(labels)]
    mean = sum(runs) / len(runs)
    spread = (sum((r - mean) ** 2 for r in runs) / len(runs)) ** 0.5
    assert expected_runs(labels) == pytest.approx((mean, spread))


def test_runs_of_a_beginning_have_the_mean_and_spread_of_draws():
    labels = [0, 0, 0, 1, 2, 2]
    runs = [sum(1 for _ in itertools.groupby(p)) for p in itertools.product(labels, repeat=4)]
    mean = sum(runs) / len(runs)
    spread = (sum((r - mean) ** 2 for r in runs) / len(runs)) ** 0.5
    assert expected_runs(labels[:4], labels) == pytest.approx((mean, spread))


def test_a_script_that_trains_on_one_batch_alone_has_no_order():
    model, loader = nn.Linear(4, 10), DataLoader(data(torch.arange(200) // 20), 100)

    def run():
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        batch = next(iter(loader))
        for _ in range(8):
            optimizer.zero_grad()
            classify(model, batch).backward()
            optimizer.step()

    with pytest.raises(CannotMeasureError, match="one batch from its loader"):
        measured(measure_sample_order, record(run))


def test_a_sampler_by_weights_reaches_as_far_as_it_has_weights():
    labels = torch.arange(400) % 4

    def run() -> None:
        sampler = WeightedRandomSampler(1 / torch.bincount(labels), num_samples=400)  # four weights
        fit(nn.Linear(4, 10), DataLoader(data(labels), 20, sampler=sampler), classify)

    found = measured(measure_sample_order, record(run))
    assert found.reach == 4
    assert set(found.first_epoch) == {0, 1, 2, 3}
    with open(__file__) as source:
        assert "# four weights" in source.readlines()[found.sampler_where.line - 1]
    whole = order(DataLoader(data(labels), 20, sampler=WeightedRandomSampler(torch.ones(400), num_samples=400)))
    assert whole.reach == 400
    assert order(DataLoader(data(labels), 20, shuffle=True)).reach is None


class ByLength(Sampler):
    """Batches of like length; they come in random order only when they are mixed, all or a pool's."""

    def __init__(self, lengths: list[int], pool: int | None = None, mixed: bool = False) -> None:
        self.lengths, self.pool, self.mixed, self.batch_size = lengths, pool or len(lengths), mixed, 20

    def __iter__(self):
        order = random.sample(range(len(self.lengths)), len(self.lengths))
        pools = [sorted(order[i : i + self.pool], key=self.lengths.__getitem__) for i in range(0, len(order), self.pool)]
        batches = [pool[i : i + 20] for pool in pools for i in range(0, len(pool), 20)]
        if self.mixed:
            random.shuffle(batches)
        return iter(batches)


def test_what_is_drawn_anew_and_then_sorted_comes_in_a_similar_order():
    lengths = [i * 7 % 100 for i in range(2000)]
    labels = torch.tensor([length // 10 for length in lengths])
    for size in (2000, 10_000):
        loader = DataLoader(data(labels.repeat(size // 2000)), batch_sampler=ByLength(lengths * (size // 2000)))
        found = order(loader)
        assert found.same_each_epoch is False
        assert found.epochs_alike > 0.95
        assert found.label_runs < 0.1 * found.expected_runs
        assert found.handed_where.text == "return iter(batches)"
    for healthy in (ByLength(lengths, mixed=True), ByLength(lengths, pool=200)):
        assert abs(order(DataLoader(data(labels), batch_sampler=healthy)).epochs_alike) < 0.4
    shuffled = order(DataLoader(data(labels), 20, shuffle=True))
    assert abs(shuffled.epochs_alike) < 0.1
    assert shuffled.handed_where is None
