"""Reading the data: whether a sample is the same when it is read again, what workers draw, and what becomes of the last batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainlint.location import Location
from trainlint.measurements.base import Measurement

__all__ = ["CrossedLinks", "LastBatch", "LoaderEnd", "Overwritten", "Repeat", "Repeats", "WorkerSeeds"]


@dataclass(frozen=True, kw_only=True)
class CrossedLinks:
    """What a collate function that joins graphs makes of their edges: whether it leads them to nodes of other graphs."""

    samples: int
    """Graphs that it was given."""
    wrong: int
    """Of these, those whose edges it moved by something else than the nodes before them; 0 where all are right."""
    path: str
    """The edges, in a sample."""
    where: Location | None = None
    """The line of the collate function that sets by how much edges are moved, else that takes them up, or its head."""
    counted: bool = False
    """It is the first of these."""


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """One tensor of a validation sample, read several times under different random seeds."""

    path: str
    role: str
    """``input``, ``target`` or ``other``."""
    kind: str
    """As in :class:`Leaf`."""
    shape: tuple[int, ...] = ()
    """Of one sample, with a first axis of one."""
    samples: int = 0
    """Samples read."""
    varied: int = 0
    """Samples whose readings differ."""
    change: float = 0.0
    """Mean distance between readings of one sample over the mean distance between different samples, element by element."""
    recognised: float = 1.0
    """How far a reading is known again among other samples of its label: 1 always, 0 no more than by chance, as when each reading is
    another sample."""


@dataclass(frozen=True, kw_only=True)
class Overwritten:
    """A sample that is another one once a second sample, or itself, was read: reading changes what the dataset holds in place."""

    phase: str
    sample: int
    """Index of the sample."""
    read: int
    """Index of the one that was read; the same for a sample that is another one when it is read again."""
    change: float
    """Mean change of the sample's values over their mean distance to those of its neighbour."""
    masked: bool = False
    """Its own readings under other random draws leave one value behind where there were many, as masks do."""
    tensor: bool = False
    """What was masked is a tensor, and no array."""
    where: Location | None = None
    """The first line that changes what the dataset holds."""


@dataclass(frozen=True, kw_only=True)
class Repeats(Measurement):
    """Whether validation samples are the same each time they are read."""

    name: ClassVar[str] = "repeats"
    leaves: tuple[Repeat, ...] = ()
    where: Location | None = None
    """Where the validation dataset was built."""
    loader_where: Location | None = None
    changed_where: Location | None = None
    """The line that changes what the dataset holds, in place, whenever a sample is read."""
    by_collate: bool = False
    """The dataset returns the same each time; the collate function draws."""
    by_hook: str = ""
    """Batches are the same each time; this hook of Lightning's draws, which the user wrote. ``random_transforms`` are those that it uses."""
    hook_where: Location | None = None
    """The line of it that draws."""
    unread: str = ""
    """A transform that the script has given a ``Subset``, by its attribute: nothing reads it there."""
    unread_where: Location | None = None
    random_transforms: tuple[str, ...] = ()
    """Classes of the random transforms found in the dataset."""
    shared: bool = False
    """Training reads the same dataset object, with other indices."""
    training_varies: bool | None = None
    """The same for training samples; None when those could not be read."""
    worn: Overwritten | None = None
    """A training sample that is another one when it is read again, while validation samples stay."""


@dataclass(frozen=True, kw_only=True)
class LoaderEnd:
    """How a loader that the script iterated cuts its samples into batches."""

    phase: str
    """``train``, ``val``, ``empty`` (iterated, and nothing came) or empty when neither trained nor validated."""
    samples: int
    batch_size: int
    drop_last: bool = False
    last: int = 0
    """Samples of the last batch, were it kept; a full batch when nothing is left over."""
    shuffled: bool = False
    where: Location | None = None

    @property
    def dropped(self) -> int:
        """Samples of an epoch that are left out."""
        return self.last if self.drop_last and self.last < self.batch_size else 0


@dataclass(frozen=True, kw_only=True)
class LastBatch(Measurement):
    """The last batch of each loader, and the layers that need more than one sample."""

    name: ClassVar[str] = "last_batch"
    loaders: tuple[LoaderEnd, ...] = ()
    single: tuple[str, ...] = ()
    """Batch-norm layers that train with one value a channel and sample: they fail on a batch of one sample."""
    several: tuple[str, ...] = ()
    """Batch-norm layers that train with more."""
    norm_where: Location | None = None
    trained: bool = True
    """Some backward() call was made."""


@dataclass(frozen=True, kw_only=True)
class WorkerSeeds(Measurement):
    """Whether the randomness of training samples differs between workers and between epochs, by playing workers in this process.

    A worker begins with a copy of the dataset as the script built it and with generators seeded anew; then it calls
    ``worker_init_fn``. The same samples are read by two workers, and by one worker in two epochs.
    """

    name: ClassVar[str] = "worker_seeds"
    workers: int = 0
    random: bool = False
    """Samples vary when they are read again with the generators running on."""
    begins_again: tuple[str, ...] = ()
    """Global generators that were drawn from and were in the same state at the start of two training epochs: torch, numpy, random."""
    seeded_where: Location | None = None
    """Where torch's was seeded last."""
    same_in_workers: bool = False
    """Two workers of one epoch draw the same."""
    same_in_epochs: bool = False
    """A worker draws the same in two epochs."""
    samples: int = 0
    """Samples that vary, on which the comparison rests."""
    resets: tuple[str, ...] = ()
    """Global generators (``torch``, ``numpy``, ``random``) that reading any sample leaves in one and the same state: seeded by a constant."""
    held: tuple[str, ...] = ()
    """Kinds of the generators that the dataset holds."""
    by_init: bool = False
    """It is ``worker_init_fn`` that makes them the same: without it they differ."""
    stream: int = 0
    """Samples that were read of an IterableDataset by each of two workers; 0 for other datasets."""
    stream_shared: int = 0
    """How many of these both workers read."""
    persistent: bool = False
    """Workers live on from epoch to epoch, so that a generator of their own runs on."""
    where: Location | None = None
    """Where the dataset was built; the loader's place when it is ``worker_init_fn``."""
    drawn_where: Location | None = None
    """The first line of the user's that draws what is the same, or that seeds by a constant; for streams, the loop that gives out samples."""
