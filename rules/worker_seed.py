"""Checks that augmentation is drawn anew in each worker and in each epoch.

## What it checks

Loader workers are played in this process: each begins with a copy of the dataset as the script built it, is seeded as torch seeds
workers (torch, numpy and Python's random, anew in each epoch) and calls `worker_init_fn`. Two workers, and one worker in two epochs,
read the same samples.

- **Warning**: their augmentation is the same, number by number. The dataset holds a generator of its own, which every worker
  gets in the same state; or `worker_init_fn` seeds by a constant, or by the worker's number alone. Also a dataset that seeds
  a global generator by a constant whenever a sample is read, with or without workers.

The state of the global generators is compared at the start of two training epochs as the script ran them.

- **Warning**: a generator that was drawn from is in the same state, and samples vary: the seed is set in each epoch.

An `IterableDataset` is begun by two workers.

- **Warning**: both read the same samples, so that each comes as many times an epoch as there are workers. Nothing shares the stream
  out by `get_worker_info()`.

Healthy and passed: loaders without workers whose generators run on, datasets without randomness, datasets that seed by the index on purpose,
workers that live on (`persistent_workers=True`) and differ from each other, runs of one epoch.

## Why it matters

Augmentation is to show each sample in ever new ways. When all workers draw the same numbers, or each epoch repeats the last, a sample
comes in far fewer ways than it seems, and the model overfits as if there were little augmentation. Before torch seeded numpy
in its workers, Pärnamaa found the fault in 95 % of the public projects that he looked at.

## Example

```python
class Photos(Dataset):
    def __init__(self, files):
        self.rng = np.random.default_rng(0)  # every worker gets a copy in this state, in every epoch
```

## Fix

Draw from the global generators, which torch seeds for each worker and epoch, or build the generator in the worker.

```python
def __getitem__(self, index):
    shift = int(torch.randint(-4, 5, ()))  # seeded by torch, differently in each worker and epoch


def worker_init_fn(worker_id):
    info = torch.utils.data.get_worker_info()
    info.dataset.rng = np.random.default_rng(info.seed)
```

## Thresholds

- A stream: half of the first 16 samples are the same. Shared out, none is; read whole, all are.
- Equality is exact. Six of sixteen samples at least must vary, each is read twice: coin flips are equal by chance once in 4,000 times.

## References

- torch.utils.data, Randomness in multi-process data loading: https://docs.pytorch.org/docs/stable/data.html#randomness-in-multi-process-data-loading
- PyTorch, Reproducibility, DataLoader: https://docs.pytorch.org/docs/stable/notes/randomness.html#dataloader
- Pärnamaa, Using PyTorch + NumPy? You're making a mistake, 2021: https://tanelp.github.io/posts/a-bug-that-plagues-thousands-of-open-source-ml-projects/
"""

from __future__ import annotations

from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.measurements import Optimizers, WorkerSeeds
from trainlint.rule import Rule, Verdict, failed, passed

#: Samples of a stream that two workers must have begun with; the share of them that tells that both read all of it.
FEWEST, SHARED = 4, 0.5


class WorkerSeed(Rule):
    """Looks for augmentation that is the same in two workers or in two epochs."""

    code = "TL211"
    name = "worker-seed"
    stage = Stage.DATA
    severity = Severity.WARNING
    summary = "Augmentation is drawn anew in each worker and epoch"
    why = "Augmentation that repeats itself shows each sample in far fewer ways than it seems, and the model overfits as if there were little of it."
    source = "torch.utils.data, Randomness in multi-process data loading: https://docs.pytorch.org/docs/stable/data.html"
    requires = (WorkerSeeds, Optimizers)

    def judge(self, seeds: WorkerSeeds, optimizers: Optimizers) -> Verdict:
        """Judge constant seeds in the dataset first, then what workers share."""
        evidence: dict[str, Json] = {
            "workers": seeds.workers,
            "samples": seeds.samples,
            "same_in_workers": seeds.same_in_workers,
            "same_in_epochs": seeds.same_in_epochs,
            "generators": ", ".join(seeds.held),
        }
        if seeds.stream:
            return _stream(seeds)
        if seeds.resets:
            return _reset(seeds, evidence)
        if seeds.random and seeds.begins_again and optimizers.epochs != 1:
            return _begins_again(seeds, evidence)
        if not seeds.random:
            return passed("Training samples do not vary, so there is nothing to draw.", evidence=evidence)
        if not seeds.workers:
            return passed("Without workers the generators run on from sample to sample and from epoch to epoch.", evidence=evidence)
        workers = seeds.same_in_workers and seeds.workers > 1
        epochs = seeds.same_in_epochs and not seeds.persistent and optimizers.epochs != 1
        if not workers and not epochs:
            return passed(f"{seeds.samples} samples are augmented differently in two workers and in two epochs.", evidence=evidence)
        return _repeated(seeds, evidence, workers=workers, epochs=epochs)


def _stream(seeds: WorkerSeeds) -> Verdict:
    evidence: dict[str, Json] = {
        "measured": seeds.stream_shared,
        "expected": 0,
        "threshold": SHARED,
        "samples": seeds.stream,
        "workers": seeds.workers,
    }
    if seeds.stream < FEWEST or seeds.stream_shared < SHARED * seeds.stream:
        return passed(f"Two workers share {seeds.stream_shared} of the first {seeds.stream} samples of the stream.", evidence=evidence)
    return failed(
        f"Each of {seeds.workers} workers reads the whole stream: {seeds.stream_shared} of the first {seeds.stream} samples come from two of them, "
        f"so every sample is seen {seeds.workers} times an epoch.",
        severity=Severity.WARNING,
        evidence=evidence,
        location=seeds.drawn_where or seeds.where,
        fix=Fix(
            summary="Let each worker read its own share.",
            code="info = torch.utils.data.get_worker_info()\nif info is not None:\n    items = items[info.id :: info.num_workers]",
            edit=Edit(kind="share-stream"),
        ),
    )


def _reset(seeds: WorkerSeeds, evidence: dict[str, Json]) -> Verdict:
    names = " and ".join(seeds.resets)
    return failed(
        f"Reading a sample seeds the generator of {names} by a constant, so every sample is changed in the same way, in every epoch.",
        severity=Severity.WARNING,
        evidence={**evidence, "measured": "one state after every sample", "expected": "a state that runs on", "threshold": "equal"},
        location=seeds.drawn_where or seeds.where,
        fix=Fix(
            summary="Seed once, at the start of the script, and not where samples are read.",
            code="torch.manual_seed(seed)\ndataset = MyDataset()",
        ),
    )


def _begins_again(seeds: WorkerSeeds, evidence: dict[str, Json]) -> Verdict:
    names = " and ".join(seeds.begins_again)
    order = "samples come in the same order, and " if "torch" in seeds.begins_again else ""
    return failed(
        f"Each epoch begins with the generator of {names} in the same state: {order}what is drawn from it for augmentation, dropout or noise is the "
        "same in every epoch.",
        severity=Severity.WARNING,
        evidence={**evidence, "measured": "the same state in two epochs", "expected": "a state that runs on", "threshold": "equal"},
        location=seeds.seeded_where or seeds.where,
        fix=Fix(
            summary="Seed once, before the first epoch, or add the number of the epoch to the seed.",
            code="set_seed(seed + epoch)",
            edit=Edit(kind="seed-once"),
        ),
    )


def _repeated(seeds: WorkerSeeds, evidence: dict[str, Json], *, workers: bool, epochs: bool) -> Verdict:
    where = " and ".join([*(["in all workers"] if workers else []), *(["in every epoch"] if epochs else [])])
    cause = (
        "worker_init_fn seeds them so"
        if seeds.by_init
        else f"the dataset holds a generator of its own ({', '.join(seeds.held)}), of which every worker gets a copy in the same state"
        if seeds.held
        else "the dataset seeds its draws by itself"
    )
    fix = (
        Fix(
            summary="Leave seeding to torch, which seeds torch, numpy and random in each worker, or derive seeds from torch.initial_seed().",
            code="def worker_init_fn(worker_id):\n    np.random.seed(torch.initial_seed() % 2**32)",
            edit=Edit(kind="reseed-workers", at=seeds.where),
        )
        if seeds.by_init
        else Fix(
            summary="Draw from the global generators, or build the generator in each worker from the seed that torch gives it.",
            code="def worker_init_fn(worker_id):\n    info = torch.utils.data.get_worker_info()\n    info.dataset.rng = np.random.default_rng(info.seed)",
            edit=Edit(kind="seed-workers", at=seeds.where) if seeds.held else None,
        )
    )
    return failed(
        f"The same random numbers are drawn {where}: {cause}. All {seeds.samples} samples that vary were changed in the same way.",
        severity=Severity.WARNING,
        evidence={**evidence, "measured": "the same", "expected": "different draws", "threshold": "equal"},
        location=seeds.drawn_where or seeds.where,
        fix=fix,
    )
